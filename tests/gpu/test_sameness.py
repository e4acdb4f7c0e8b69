"""A card draws what a CPU draws, up to the rounding of the precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.core.shards import Prompt, plan_shards
from harness.models.compiled import Compiled
from harness.runs.folder import Settings, open_run
from harness.runs.make import generate
from harness.runs.plan import plan
from harness.store.pictures import decode
from harness.store.run import Run
from tests.gpu.cards import ALL_TEXTS, CAPTIONS, CARD, DEVICE, apart, drawn, noise, opened

ROUNDING = 1e-4
"""Of latents, relative. Two float32 convolutions of one CPU (oneDNN's and the plain one) end at
most 6e-6 apart with these samplers; TF32, which rounds to 11 bits in place of 24, far beyond."""

EMBEDDED = 1e-6
"""Of latents in float64, whose times diffusers embeds in float32: frequencies that are all an ulp
off move latents by 9.6e-7, an H100's by 2.7e-7. Float32 throughout moves them by 1.3e-6."""

LOOSE = {"asyndm": 1e-2}
"""AsynDM cuts attention maps at a threshold: a pixel at the edge may fall on the other side."""


@pytest.mark.parametrize("name", ALL_TEXTS)
def test_every_sampler_and_policy_ends_where_it_does_on_a_cpu(name: str) -> None:
    found = drawn(name)
    assert found.device.type == DEVICE
    assert bool(found.isfinite().all())
    assert apart(found, drawn(name, "cpu")) < LOOSE.get(name, ROUNDING)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        ("float64", EMBEDDED),
        ("float32", ROUNDING),
        ("float16", 0.02),  # 2^-11, eight times finer than bfloat16
        ("bfloat16", 0.1),  # 2^-8: 0.022 on a CPU
    ],
)
def test_a_precision_differs_by_its_rounding(dtype: str, tolerance: float) -> None:
    exact = drawn("ddim", "cpu", "float64")
    found = drawn("ddim", dtype=dtype)
    assert apart(found, exact) < tolerance
    if dtype == "bfloat16":
        assert apart(found, exact) > ROUNDING  # so that the tolerance means something


def test_a_batch_does_not_change_an_image_beyond_rounding() -> None:
    together = drawn("zigzag", batch=16)
    assert apart(together[:3], drawn("zigzag", batch=3)) < ROUNDING


def test_float32_means_float32(tmp_path: Path) -> None:
    """A run in float32 is the CPU's, though torch lets convolutions round to TF32 by default.

    With TF32 the mean difference of these pictures was 0.5 of 255, and single pixels were off by
    93; without it only what lies at the edge of two whole numbers may differ.
    """
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = False
    pictures = [_pictures(tmp_path / device, device) for device in (DEVICE, "cpu")]
    difference = (pictures[0] - pictures[1]).abs()
    assert float(difference.mean()) < 0.01
    assert float(difference.max()) <= 1


@pytest.mark.skipif(not CARD, reason="needs an NVIDIA GPU")
def test_tf32_is_float32_with_fewer_bits(tmp_path: Path) -> None:
    """With it, pictures are further from the CPU's than without, and not far."""
    cpu = _pictures(tmp_path / "cpu", "cpu")
    exact, rounded = (
        float((_pictures(tmp_path / str(tf32), DEVICE, tf32=tf32) - cpu).abs().mean())
        for tf32 in (False, True)
    )
    print(f"mean difference to the CPU, of 255: float32 {exact:.4f}, with TF32 {rounded:.4f}")
    assert exact < 0.01
    assert exact < rounded < 2


@pytest.mark.skipif(not CARD, reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("sampler", ["ddim(steps=6)", "heun(steps=6, interval=[0.5, 5])"])
def test_a_compiled_network_draws_the_same(sampler: str) -> None:
    """As a CUDA graph, whose outputs lie where the next ones will."""
    ensemble = opened("shapes")
    compiled = Compiled(ensemble.loaded)
    call = plan("shapes", sampler, dtype="float32", device=DEVICE).spec.sampler

    def run(count: int) -> torch.Tensor:
        texts = [CAPTIONS[i % 3] for i in range(count)]
        return ensemble.run(call, texts, [None] * count, noise(ensemble, count)).native

    compiled.fit(4, 4)
    for count in (4, 3):
        with compiled.at(4):
            found = run(count)
        assert apart(found, run(count)) < ROUNDING


def _pictures(folder: Path, device: str, *, tf32: bool = False) -> torch.Tensor:
    planned = plan("shapes", "zigzag(steps=10)", dtype="float32", device=device)
    settings = Settings(device, 1, 16, tf32=tf32)
    prompts = [Prompt(str(i), CAPTIONS[i % 3]) for i in range(16)]
    run = open_run(planned, str(folder), settings)
    generate(((planned, run, shard) for shard in plan_shards(prompts, [0])), settings)
    cells = Run.open(str(folder)).frame("images")["image"]
    found = [decode(cell["bytes"]) for cell in cells]
    return torch.stack([torch.as_tensor(picture).double() for picture in found])


def test_pictures_are_decoded_alike() -> None:
    native = drawn("ddim", "cpu")
    here = opened("shapes").model.decode(native.to(DEVICE)).double()
    there = opened("shapes", device="cpu").model.decode(native).double()
    assert float((here - there).abs().max()) <= 1
