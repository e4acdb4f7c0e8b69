"""One, two and three steps of every registered sampler: finite, or refused with a reason."""

from __future__ import annotations

import pytest
import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.engine.batch import run_sampler
from harness.engine.noise import NoiseStreams
from harness.engine.resolve import resolve
from harness.models.base import Model
from harness.samplers.base import SAMPLERS

MUST_WORK = {"ddim", "ddpm", "euler_ancestral", "heun", "edm", "dpmpp_2m", "unipc", "zigzag"}
MUST_WORK |= {"cfgpp", "w2sd"}
NEEDED = {"restart": {"intervals": [[3, 2, 0.06, 0.30]]}}  # parameters without a default that runs


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("name", SAMPLERS.names())
@pytest.mark.parametrize("which", ["gmm", "tiny_sdxl"])
def test_few_steps_are_finite_or_refused(
    request: pytest.FixtureRequest, which: str, name: str, steps: int
) -> None:
    """A ladder that ends at 0 (gmm), where lambda is infinite, and one that does not."""
    model: Model = request.getfixturevalue(which)
    size, prompt = ((8, 8), "class 3") if which == "gmm" else ((64, 64), "a cat")
    noise = NoiseStreams([0], model.latent_shape(size), dtype=model.state_dtype)
    condition, negative = model.encode([prompt]), model.encode_negative([None])
    try:
        call = resolve(Call(name, {"steps": steps, **NEEDED.get(name, {})}), {"guidance": 3.0})
        out = run_sampler(model, call, condition, negative, noise).native
    except HarnessError:
        if name in MUST_WORK:
            raise
        return
    assert bool(out.isfinite().all())
    assert not torch.equal(out, torch.zeros_like(out))
