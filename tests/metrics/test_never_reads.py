"""No metric looks at a value on the device while it computes: the device would be waited for.

The networks lie on the device "meta", which has no values to be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from harness.metrics import library_parts
from harness.metrics.base import ItemMetric, ItemRow, make_metric
from harness.metrics.cosine import CosineMetric
from tests.gpu.test_metrics import IMAGES, KINDS, files, images, suited, world
from tests.metrics.test_clip import weights as clip_weights
from tests.metrics.test_pickscore import folder as pickscore_folder

__all__ = ["clip_weights", "files", "images", "pickscore_folder"]

READS = {
    "imagereward",  # transformers looks whether a prompt is padded, after the image tower
    *("shapes-alignment", "shapes-exact", "shapes-fd", "shapes-diversity"),  # the judge's objects
}
"""Read the device once a batch."""

MORE = {
    "fd, dinov2 by Pillow": "fd(net='dinov2(checkpoint={files}/dinov2.pth, resize=pil)')",
    "fd, dinov2 as clean": "fd(net='dinov2(checkpoint={files}/dinov2.pth, resize=clean)')",
    "clip as torchmetrics": KINDS["clip"].replace("{name}(", "clip(scale=torchmetrics, "),
    "total variation": "torchmetrics:TV",
}


@pytest.fixture(autouse=True)
def _nothing_stays_there() -> Iterator[None]:
    """A metric of torchmetrics is made once a process, and would stay without values."""
    yield
    library_parts._built.cache_clear()


@pytest.mark.parametrize("name", [name for name in (*KINDS, *MORE) if name not in READS])
def test_a_metric_never_waits_for_the_device(
    name: str, files: Path, clip_weights: Path, pickscore_folder: Path, images: torch.Tensor
) -> None:
    images, texts = suited(name, images)
    text = {**KINDS, **MORE}[name].format(
        name=name, files=files, clip=clip_weights, pickscore=pickscore_folder
    )
    metric = make_metric(text)
    metric.load("meta")
    with torch.inference_mode():
        if isinstance(metric, ItemMetric):
            metric.prepare(list(dict.fromkeys(texts)))
            found = metric.score(images, [ItemRow(text) for text in texts])
        else:
            found = metric.features.encode(images)
    assert isinstance(found, torch.Tensor)
    assert (found.device.type, len(found)) == ("meta", IMAGES)


def test_a_look_at_a_value_fails_here(images: torch.Tensor) -> None:
    """What these tests rely on."""
    metric = make_metric("contrast")
    metric.load("meta")
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        metric.values(images, [ItemRow("")] * IMAGES)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["clip", "pickscore", "hpsv2", "shapes-clip"])
def test_prompts_in_batches_of_one_size_are_those_alone(
    name: str, files: Path, clip_weights: Path, pickscore_folder: Path
) -> None:
    """As on a GPU, here on the CPU: prompts of several lengths in batches of 4."""
    text = KINDS[name].format(name=name, files=files, clip=clip_weights, pickscore=pickscore_folder)
    alone, together = make_metric(text), make_metric(text)
    prompts = ["a cat", "two blue stars and a lighthouse", "a", "green squares", "dusk"]
    if name == "shapes-clip":
        prompts = world()[1][:3]
    calls = []
    for metric in (alone, together):
        assert isinstance(metric, CosineMetric)
        metric.load("cpu")
    encode = together.towers.encode_texts
    together.towers.encode_texts = lambda texts: calls.append(len(texts)) or encode(texts)
    together.together = 4
    with torch.inference_mode():
        for metric in (alone, together):
            metric.prepare(prompts)
            metric.prepare(prompts[:1])  # is known
    assert calls == [4] * -(-len(prompts) // 4)
    assert list(alone.embedded) == list(together.embedded) == prompts
    for prompt in prompts:
        assert torch.allclose(alone.embedded[prompt], together.embedded[prompt], atol=1e-5)
