"""The networks that NVIDIA publishes: EDM's, and EDM2's with the settings of its presets.

Nothing is downloaded before it is needed. As the papers state, published numbers are the minimum
over several runs of 50,000 pictures each.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.fetch.download import PublicFile
from harness.models.base import MODELS, ModelEntry
from harness.models.edm.edm_model import EdmLevels
from harness.models.edm.edm_network import EdmNetwork
from harness.models.edm.entries import check_overrides, checkpoint_entry, edm_entry

_HOME = "https://nvlabs-fi-cdn.nvidia.com"
_LICENCE = "CC BY-NC-SA 4.0"
_METRICS = {"fid": "FID", "fd_dinov2": "FD-DINOv2"}
_NAME = r"edm2-img(64|512)-(xxs|xs|s|m|l|xl|xxl)(-uncond)?-\d{7}-\d\.\d{3}"
"""Size, thousands of training images and relative width of the weights' average."""

_EDM = [  # name, resolution, classes, steps of the paper, published FID (its table 2)
    ("edm-cifar10-32x32-cond-vp", 32, 10, 18, 1.79),
    ("edm-cifar10-32x32-cond-ve", 32, 10, 18, 1.79),
    ("edm-cifar10-32x32-uncond-vp", 32, 0, 18, 1.97),
    ("edm-cifar10-32x32-uncond-ve", 32, 0, 18, 1.98),
    ("edm-ffhq-64x64-uncond-vp", 64, 0, 40, 2.39),
    ("edm-ffhq-64x64-uncond-ve", 64, 0, 40, 2.53),
    ("edm-afhqv2-64x64-uncond-vp", 64, 0, 40, 1.96),
    ("edm-afhqv2-64x64-uncond-ve", 64, 0, 40, 2.16),
    ("edm-imagenet-64x64-cond-adm", 64, 1000, 256, 1.36),
]


def reconstruction(name: str) -> ModelEntry | None:
    """The entry of an EDM2 network by its file's name, unguided; None if it is no such name."""
    match = re.fullmatch(_NAME, name)
    if match is None:
        return None
    side = int(match[1])
    file = PublicFile("models/edm2", f"{_HOME}/edm2/posthoc-reconstructions/{name}.pkl")
    title = f"EDM2-{match[2].upper()}, ImageNet {side}x{side}"
    entry = _entry(name, file, title, side, 0 if match[3] else 1000, latent=side == 512)
    return replace(entry, steps=32, batch_size=32)


def _entry(
    name: str, file: PublicFile, title: str, side: int, classes: int, latent: bool = False
) -> ModelEntry:
    def ladders(overrides: dict[str, Any]) -> EdmLevels:
        check_overrides(overrides, latent, name)
        return EdmLevels(name, EdmNetwork())

    return edm_entry(
        name,
        side=side,
        classes=classes,
        latent=latent,
        title=title,
        source=file.url,
        licence=_LICENCE,
        steps=18,
        batch_size=64,
        revision=lambda: file.digest()[:16],
        ladders=ladders,
        load=lambda request: checkpoint_entry(file.obtain()).load(request),
    )


def _edm() -> Iterator[ModelEntry]:
    for name, side, classes, steps, fid in _EDM:
        file = PublicFile("models/edm", f"{_HOME}/edm/pretrained/{name}.pkl")
        churn = "; s_churn=40, s_min=0.05, s_max=50, s_noise=1.003" if steps == 256 else ""
        title = f"EDM, published FID {fid:g} by {steps} steps{churn}"
        dtype = None if "imagenet" in name else "float32"  # the only one trained for float16
        yield replace(_entry(name, file, title, side, classes), steps=steps, dtype=dtype)


def _presets() -> Iterator[ModelEntry]:
    with (Path(__file__).parent / "edm2_presets.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            network = reconstruction(f"edm2-{row['network']}")
            assert network is not None
            number = f"published {_METRICS[row['metric']]} {float(row['published']):g}"
            yield replace(
                network,
                name=f"edm2-{row['preset']}",
                title=f"{network.title}, {number}",
                guidance=float(row["guidance"] or 1),
                guide=f"edm2-{row['guide']}" if row["guide"] else None,
            )


for _published in (*_edm(), *_presets()):
    MODELS.add(_published.name, _published)
