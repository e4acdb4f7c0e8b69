"""The measuring script walks its whole way at toy widths, and what it times is the same work."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.perf.generate import BARE, CALL, OURS, SIZES, figures, table
from benchmarks.perf.timing import machine


@pytest.mark.slow
@pytest.mark.parametrize("size", ["sd15", "sdxl", pytest.param("flux", marks=pytest.mark.long)])
def test_all_ways_to_draw_give_the_same_pictures(size: str) -> None:
    found = figures(size, "cpu", tiny=True, rounds=1)
    assert found["mean difference of pictures, of 255"]["latents are finite"] == 1
    for name in (OURS, CALL):
        assert found["mean difference of pictures, of 255"][name] < 0.1
    text = table(size, machine("cpu"), found)
    assert all(name in text for name in (OURS, BARE, CALL, "one image at a time", "zigzag"))
    assert json.loads(json.dumps(found)) == found


@pytest.mark.slow
def test_the_bare_loop_of_edm2_is_heuns_method() -> None:
    saved: list[int] = []
    found = figures(
        "edm2-s", "cpu", tiny=True, rounds=1, save=lambda known: saved.append(len(known["rows"]))
    )
    assert saved[:3] == [1, 2, 3]  # what is known is written before the rest is measured
    assert found["relative difference of latents"] < 1e-4
    assert found["ratios"]["interval over full guidance"] > 0


def test_published_sizes() -> None:
    """Parameters of the networks as published, in millions."""
    from diffusers import FluxTransformer2DModel, UNet2DConditionModel

    from benchmarks.perf.flux import transformer_arguments
    from benchmarks.perf.networks import edm2_arguments, unet_arguments
    from harness.models.edm.build import build

    with torch.device("meta"):
        networks = [UNet2DConditionModel(**unet_arguments(name)) for name in ("sd15", "sdxl")]
        networks += [build("Precond", arguments) for arguments in edm2_arguments()]
        networks.append(FluxTransformer2DModel(**transformer_arguments()))
    millions = [round(sum(p.numel() for p in net.parameters()) / 1e6) for net in networks]
    assert dict(zip(["sd15", "sdxl", "edm2-s", "edm2-xs", "flux"], millions, strict=True)) == {
        "sd15": 860,
        "sdxl": 2567,
        "edm2-s": 280,
        "edm2-xs": 124,  # 125 with the layer of the 1000 classes
        "flux": 11901,
    }
    assert SIZES.keys() == {"sd15", "sdxl", "edm2-s", "flux", "shapes"}
