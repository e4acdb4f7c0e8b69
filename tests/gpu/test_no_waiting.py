"""On a GPU: the host never waits for it inside a batch, and makes what a CPU makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from harness.core.call import parse_call
from harness.engine.batch import Batch, run_sampler
from harness.engine.noise import NoiseStreams
from harness.engine.resolve import resolve
from harness.models.base import Model
from harness.models.load import load
from harness.samplers.base import SAMPLERS
from tests.engine.test_no_waiting import POLICIES_RUN, SAMPLERS_RUN

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

TEXTS = ["a red circle and a blue square", "a green star", "a big yellow triangle"]

# AsynDM's U-Net embeds the distinct timesteps of its map, and waits to know how many there are;
# a weak_model of w2sd is another model, loaded by an ensemble.
LEFT_OUT = {"asyndm"}


@pytest.fixture(scope="module")
def on_gpu() -> Iterator[Model]:
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield load("shapes", device="cuda")
    torch.backends.cudnn.allow_tf32 = allowed


def _run(model: Model, text: str, *, waiting: str = "default") -> Batch:
    call = resolve(parse_call(text), {})
    shape = model.latent_shape((64, 64))
    noise = NoiseStreams(range(3), shape, dtype=model.state_dtype, device=model.device)
    told = model.encode(TEXTS), model.encode_negative([None] * 3)
    scales = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64) if "_like" in text else None
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode(waiting)
    try:
        return run_sampler(model, call, *told, noise, scales=scales)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _settings() -> list[str]:
    names = [name for name in SAMPLERS.names() if name not in LEFT_OUT]
    samplers = [
        f"{name}(steps=6, {settings})" if settings else f"{name}(steps=9)"
        for name in names
        for settings in SAMPLERS_RUN.get(name, [""])
        if "weak_model" not in settings
    ]
    policies = [f"heun(steps=4, guidance=3, {text})" for text in POLICIES_RUN.values()]
    return samplers + policies


@pytest.mark.parametrize("text", _settings())
def test_the_host_never_waits(on_gpu: Model, text: str) -> None:
    _run(on_gpu, text)  # what is set up once may wait
    batch = _run(on_gpu, text, waiting="error")
    assert bool(batch.native.isfinite().all())


@pytest.mark.parametrize("text", ["ddim(steps=6)", "zigzag(steps=4)", "ddpm(steps=5)"])
def test_a_gpu_makes_what_a_cpu_makes(on_gpu: Model, shapes: Model, text: str) -> None:
    theirs = _run(shapes, text).native
    ours = _run(on_gpu, text).native.cpu()
    torch.testing.assert_close(ours, theirs, atol=2e-2, rtol=0)
