from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.engine.batch import run_sampler
from harness.engine.noise import NoiseStreams
from harness.engine.resolve import resolve
from harness.models.base import Model

CHOSEN = ["class 1", "class 4"]


def _run(model: Model, text: str) -> Any:
    noise = NoiseStreams([5, 6], (3, 8, 8), dtype=torch.float64)
    call = resolve(parse_call(text), {})
    negative = model.encode_negative([None, None])
    return run_sampler(model, call, model.encode(CHOSEN), negative, noise)


@pytest.mark.parametrize("scale", [0.0, 0.3, 0.6, 1.0])
def test_a_step_renoises_with_the_unconditional_noise(gmm: Model, scale: float) -> None:
    """Algorithm 2 written out with both branches: x0 guided by lambda, then t times eps_u."""
    sigmas = gmm.ladder(8)
    noise = NoiseStreams([5, 6], (3, 8, 8), dtype=torch.float64)
    x = gmm.start(noise(), sigmas[0])
    condition, negative = gmm.encode(CHOSEN), gmm.encode_negative([None, None])
    assert negative is not None
    for s, t in pairwise(sigmas):
        d_u, d_c = (gmm.network(x, s, s, branch) for branch in (negative, condition))
        x = d_u + scale * (d_c - d_u) + t * (x - d_u) / s
    batch = _run(gmm, f"cfgpp(steps=8, scale={scale})")
    torch.testing.assert_close(batch.native, x, atol=1e-12, rtol=0)
    # lambda 0 needs no conditional branch, lambda 1 at the last step no unconditional one
    assert sum(n[0] for n in batch.evaluations.values()) == {0.0: 8, 1.0: 15}.get(scale, 16)


def test_it_takes_policies(gmm: Model) -> None:
    plain = _run(gmm, "cfgpp(steps=8)").native
    limited = _run(gmm, "cfgpp(steps=8, interval_steps=[2, 4])")
    assert sum(n[0] for n in limited.evaluations.values()) == 8 + 3
    assert not torch.equal(limited.native, plain)


def test_lambda_lies_between_both_branches() -> None:
    with pytest.raises(HarnessError, match=r"scale=1\.5"):
        resolve(parse_call("cfgpp(steps=4, scale=1.5)"), {})
    with pytest.raises(HarnessError, match="guidance"):
        resolve(parse_call("cfgpp(steps=4, guidance=5)"), {})
    assert resolve(parse_call("cfgpp(steps=4)"), {"guidance": 5.0}).params["scale"] == 0.6
