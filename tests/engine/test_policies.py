"""Guidance policies: what they select, compute and refuse."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance

from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.engine.batch import run_sampler
from harness.engine.denoiser import Denoiser
from harness.engine.noise import NoiseStreams
from harness.engine.policies import make_guidance
from harness.models.base import Condition, Model
from harness.models.ladders import close_ladder, rho_grid
from harness.samplers.base import resolve

EDM2, SDXL = (0.002, 80.0, 7.0), (0.03, 14.61, 3.0)  # sigma_min, sigma_max, rho


@pytest.mark.parametrize(
    ("grid", "printed", "steps"),
    [
        (EDM2, [0.19, 1.61], range(17, 23)),
        (EDM2, [0.60, 5.00], range(13, 20)),
        (EDM2, [0.28, 2.90], range(15, 22)),  # read as exact bounds: 16 to 22
        (SDXL, [0.28, 5.42], range(10, 26)),  # read as exact bounds: 10 to 26
    ],
)
def test_intervals_as_papers_print_them_select_the_papers_steps(
    grid: tuple[float, float, float], printed: list[float], steps: range
) -> None:
    """Kynkäänniemi et al. 2024 round the bounds of an interval (lo, hi] to two digits."""
    low, high, rho = grid
    sigmas = close_ladder(lambda n: rho_grid(n, low, high, rho), 32, low, 0.0)
    policy = make_guidance(sigmas, interval=printed)
    by_step = make_guidance(sigmas, interval_steps=[steps[0], steps[-1]])
    asked = torch.full((1,), 3.0, dtype=torch.float64)
    guided = [i for i in range(32) if policy.scale(asked, sigmas[i]) != 1]
    assert guided == list(steps)
    assert guided == [i for i in range(32) if by_step.scale(asked, sigmas[i]) != 1]


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


@pytest.mark.parametrize(
    ("policies", "words"),
    [
        ("apg_eta=0, guidance_rescale=0.7", "guidance_rescale and apg_eta contradict"),
        ("interval=[1, 2], interval_steps=[0, 1]", "interval and interval_steps contradict"),
        ("apg_eta=2", "apg_eta=2"),
        ("apg_threshold=0", "apg_threshold=0"),
        ("apg_momentum=-1", "apg_momentum=-1"),
        ("apg_norm=3", "did you mean 'apg_"),
    ],
)
def test_policies_that_contradict_or_make_no_sense_are_refused(policies: str, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        resolve(parse_call(f"ddim(steps=4, {policies})"), {})
