"""Adaptive projected guidance against diffusers' own, and with everything else."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance

from harness.core.call import parse_call
from harness.engine.batch import run_sampler
from harness.engine.denoiser import Denoiser
from harness.engine.noise import NoiseStreams
from harness.engine.policies.classifier_free import make_guidance
from harness.engine.resolve import resolve
from harness.models.base import Condition, Model

APG = {  # eta, threshold, momentum: the paper's for EDM2 and SDXL, and each alone
    "edm2": (0.0, 2.5, -0.75),
    "sdxl": (0.0, 15.0, -0.5),
    "eta": (0.3, None, None),
    "threshold": (None, 1.0, None),
    "momentum": (None, None, -0.5),
}


def _text(case: str) -> str:
    names = ("apg_eta", "apg_threshold", "apg_momentum")
    given = zip(names, APG[case], strict=True)
    return ", ".join(f"{name}={value}" for name, value in given if value is not None)


def _run(model: Model, text: str, prompts: tuple[str, ...] = ("class 1", "class 4")) -> Any:
    call = resolve(parse_call(text), {})
    noise = NoiseStreams(range(len(prompts)), (3, 8, 8), dtype=torch.float64)
    negative = model.encode_negative([None] * len(prompts))
    return run_sampler(model, call, model.encode(prompts), negative, noise)


@pytest.mark.golden
@pytest.mark.parametrize("case", APG)
def test_projected_guidance_is_diffusers_own(certify: Any, gmm: Model, case: str) -> None:
    sigmas = gmm.ladder(10)
    noise = NoiseStreams(range(2), (3, 8, 8), dtype=torch.float64)
    x = gmm.start(noise(), sigmas[0])
    condition, negative = gmm.encode(["class 1", "class 4"]), gmm.encode_negative([None] * 2)
    assert negative is not None
    eta, threshold, momentum = APG[case]
    past = MomentumBuffer(momentum or 0.0)
    for s, t in pairwise(sigmas):
        d_u, d_c = (gmm.network(x, s, s, told) for told in (negative, condition))
        guided = normalized_guidance(
            d_c, d_u, 4.0, past, 1.0 if eta is None else eta, threshold or 0.0, True
        )  # the paper's form: what is added to D_c, w - 1 times
        x = x + (t - s) * (x - guided) / s
    ours = _run(gmm, f"ddim(steps=10, guidance=5, {_text(case)})")
    certify("apg", ours.native, x, atol=1e-12)
    assert not torch.equal(ours.native, _run(gmm, "ddim(steps=10, guidance=5)").native)


def test_projected_guidance_without_its_parts_is_plain_guidance(gmm: Model) -> None:
    neutral = "apg_eta=1, apg_threshold=1e9, apg_momentum=0"
    plain = _run(gmm, "heun(steps=8, guidance=5)").native
    apg = _run(gmm, f"heun(steps=8, guidance=5, {neutral})").native
    torch.testing.assert_close(apg, plain, atol=1e-12, rtol=0)


@pytest.mark.parametrize("weight", [0, 0.5, 1])
def test_projected_guidance_acts_only_where_guidance_amplifies(gmm: Model, weight: float) -> None:
    plain = _run(gmm, f"ddim(steps=8, guidance={weight})")
    apg = _run(gmm, f"ddim(steps=8, guidance={weight}, {_text('edm2')})")
    torch.testing.assert_close(apg.native, plain.native, atol=1e-12, rtol=0)
    assert apg.evaluations == plain.evaluations


class _Far:
    """A network whose estimate is its condition's value, whatever it predicts."""

    name = "far"

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        return (x - condition["value"].reshape(-1, 1, 1, 1)) / sigma

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        return x - sigma * output


def test_momentum_moves_once_a_step_and_is_each_samples_own() -> None:
    """Updates of 1 and 2: step by step d, d + beta d, ...; twice within a step the same."""
    policy = make_guidance(torch.tensor([4.0, 2.0, 1.0, 0.0]), apg_momentum=-0.5)
    condition = {"value": torch.tensor([2.0, 4.0])}
    denoise = Denoiser(_Far(), condition, {"value": torch.tensor([1.0, 2.0])}, policy)
    x = torch.zeros(2, 1, 2, 2)

    def added(sigma: float, step: float, weight: Any = 3.0) -> list[float]:
        out = denoise(x, sigma, guidance=weight, step=step)[:, 0, 0, 0] - condition["value"]
        return out.tolist()

    assert added(4, 4) == [2, 4]
    assert added(2, 4) == [2, 4]  # the same step
    assert added(2, 2) == [1, 2]
    assert added(1, 2) == [1, 2]
    assert added(1, 1, torch.tensor([1.0, 3.0])) == [0, 3]  # 2 (2 - 0.5); the first is not guided
    # the first sample's average is still that of two steps before, 0.5; the other's is 1.5
    assert added(0.5, 0.5) == [2 * 0.75, 2 * (2 - 0.75)]


@pytest.mark.parametrize("sampler", ["heun", "zigzag", "euler_ancestral", "unipc", "cfgpp"])
def test_projected_guidance_does_not_depend_on_the_batch(gmm: Model, sampler: str) -> None:
    text = f"{sampler}(steps=6, {_text('edm2')}, interval_steps=[1, 4])"
    together = _run(gmm, text).native
    torch.testing.assert_close(_run(gmm, text, ("class 1",)).native[0], together[0])
    assert bool(together.isfinite().all())
