from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError
from harness.engine.batch import run_sampler
from harness.engine.noise import NoiseStreams
from harness.engine.rehearsal import rehearse
from harness.engine.resolve import resolve
from harness.models.base import Condition, Model
from harness.models.gmm import GaussianMixture
from harness.samplers.base import SAMPLERS


def _run(model: Model, text: str, prompts: list[str] | None = None, keys: Any = None) -> Any:
    prompts = prompts or ["class 3"]
    call = resolve(parse_call(text), {})
    shape = model.latent_shape((8, 8))
    noise = NoiseStreams(keys or range(len(prompts)), shape, dtype=torch.float64)
    negative = model.encode_negative([None] * len(prompts))
    return run_sampler(model, call, model.encode(prompts), negative, noise)


@pytest.mark.parametrize(
    ("name", "order"), [("ddim", 1), ("heun", 2), ("dpmpp_2m", 2), ("unipc", 3)]
)
def test_convergence_order_on_the_exact_mixture(gmm: Model, name: str, order: int) -> None:
    """The error against a fine solution falls as steps^-order (the slope within 0.35).

    UniPC's corrector adds an order to its predictor's second.
    """
    ends = "guidance=2, sigma_max=20, sigma_min=0.05"

    def end(name: str, steps: int) -> torch.Tensor:
        return _run(gmm, f"{name}(steps={steps}, {ends})", ["class 1", "class 4"]).native

    fine = end("heun", 2000)
    errors = [float((end(name, n) - fine).norm()) for n in (40, 80, 160)]
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert all(abs(slope - order) < 0.35 for slope in slopes), slopes


def test_one_gaussian_is_solved_in_closed_form(gmm: Model) -> None:
    """For one Gaussian the flow maps x to mean + (x - mean) std / sqrt(std^2 + sigma^2)."""
    out = _run(gmm, "heun(steps=400, guidance=1)").native
    noise = NoiseStreams([0], (3, 8, 8), dtype=torch.float64)().double() * 80
    mean = gmm.means[3]  # type: ignore[attr-defined]
    expected = mean + (noise - mean) * 0.1 / math.sqrt(0.01 + 80**2)
    torch.testing.assert_close(out, expected, atol=2e-4, rtol=0)


def test_ddim_with_eta_one_gives_the_mixtures_own_deviation(gmm: Model) -> None:
    prompts = ["class 3"] * 64
    out = _run(gmm, "ddim(steps=200, guidance=1, eta=1)", prompts).native
    residual = out - gmm.means[3]  # type: ignore[attr-defined]
    # 64 x 192 values: the deviation's standard error is below 1 %
    assert float(residual.std()) == pytest.approx(0.1, rel=0.05)
    assert not torch.equal(out, _run(gmm, "ddim(steps=200, guidance=1)", prompts).native)


class _Imperfect(GaussianMixture):
    """The exact mixture, but its noise estimate is off by `error` times a fixed pattern."""

    error = 0.0

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        pattern = torch.cos(torch.arange(192, dtype=torch.float64)).reshape(1, 3, 8, 8)
        return super().network(x, sigma, time, condition) + self.error * sigma * pattern


def _distance(model: _Imperfect, text: str) -> tuple[float, int]:
    """Wasserstein distance of 128 pictures' fitted Gaussian to the class's own, and the cost."""
    batch = _run(model, text, ["class 3"] * 128)
    pictures, cost = batch.native, sum(count[0] for count in batch.evaluations.values())
    mean, deviation = pictures.mean(0), (pictures - pictures.mean(0)).std()
    squared = (mean - model.means[3]).square().sum() + 192 * (deviation - 0.1).square()
    return math.sqrt(float(squared)), cost


def test_restart_forgets_the_errors_of_an_imperfect_network() -> None:
    """Xu et al. 2023, section 3: fresh noise contracts the errors made before an interval.

    At equal cost Restart is nearer to the data than the ODE if the network errs, and not if it is
    exact, when all that is left is the error of larger steps.
    """
    restart = "restart(steps=18, guidance=1, intervals=[[4, 4, 0.1, 1.0]])"
    model = _Imperfect()
    for error, lower in ((0.1, True), (0.0, False)):
        model.error = error
        (of_restart, cost), (of_ode, same) = (
            _distance(model, restart),
            _distance(model, "heun(steps=30, guidance=1)"),
        )
        assert cost == same == 59
        assert (of_restart < 0.6 * of_ode) is lower


def test_zigzag_without_zigzags_is_ddim(gmm: Model) -> None:
    plain = _run(gmm, "ddim(steps=8, guidance=2)").native
    none = "zigzag(steps=8, guidance=2, zigzag_steps=0)"
    assert torch.equal(_run(gmm, none).native, plain)


def test_an_exact_zigzag_step_is_the_papers_closed_form(gmm: Model) -> None:
    """y_next = y - (sigma_i - sigma_i+1) (e1 + sum_r (e3_r - e2_r)), section 3 of the paper."""
    call = resolve(parse_call("zigzag(steps=2, guidance=3, inversion_guidance=0.5, rounds=2)"), {})
    sigmas = gmm.ladder(2)
    seen: list[torch.Tensor] = []

    def denoise(
        x: torch.Tensor, sigma: Any, guidance: Any = 1.0, time: Any = None, step: Any = None
    ) -> torch.Tensor:
        seen.append(torch.sin(x * float(guidance)) / (1 + float(sigma)))
        return x - sigma * seen[-1]

    x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(1, 3, 2, 2)
    own = {k: v for k, v in call.params.items() if k != "steps"}
    out = SAMPLERS.get("zigzag").run(denoise, x, sigmas, lambda shape=None: x, **own)
    e1, e2a, e3a, e2b, e3b, last = seen
    middle = x - (sigmas[0] - sigmas[1]) * (e1 + (e3a - e2a) + (e3b - e2b))
    torch.testing.assert_close(out, middle - (sigmas[1] - sigmas[2]) * last)


def _nfe(model: Model, text: str) -> int:
    return sum(rehearse(model, resolve(parse_call(text), {}))[1].values())


@pytest.mark.parametrize(
    ("text", "nfe"),
    [
        ("ddim(steps=10, guidance=5)", 20),
        ("ddim(steps=10, guidance=1)", 10),
        ("ddim(steps=10, guidance=0)", 10),
        ("ddim(steps=10, guidance=5, interval_steps=[2, 4])", 13),
        ("ddim(steps=10, guidance=5, guidance_rescale=0.7)", 20),
        ("heun(steps=10, guidance=5)", 38),
        ("dpmpp_2m(steps=10, guidance=5)", 20),
        ("zigzag(steps=10, guidance=5.5)", 47),
        ("zigzag(steps=50, guidance=5.5)", 247),
        ("zigzag(steps=10, guidance=5.5, inversion_guidance=-1)", 56),
        ("zigzag(steps=10, guidance=5.5, guidance_rescale=0.7)", 56),
        ("zigzag(steps=10, guidance=5.5, interval_steps=[0, 1])", 2 * 5 + 7 * 3 + 1),
    ],
)
def test_evaluations_are_the_minimum_and_known_without_a_network(
    gmm: Model, text: str, nfe: int
) -> None:
    assert _nfe(gmm, text) == nfe
    counted = _run(gmm, text).evaluations
    assert sum(counts[0] for counts in counted.values()) == nfe


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp_2m", "zigzag"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_few_steps_work(gmm: Model, name: str, steps: int) -> None:
    assert bool(_run(gmm, f"{name}(steps={steps})").native.isfinite().all())


@pytest.mark.parametrize("name", ["ddim(steps=6, eta=1)", "heun(steps=4)", "zigzag(steps=4)"])
def test_a_sample_does_not_depend_on_its_batch(gmm: Model, name: str) -> None:
    together = _run(gmm, name, ["class 1", "class 2", "class 3"], [7, 8, 9]).native
    for row, (prompt, key) in enumerate([("class 1", 7), ("class 2", 8), ("class 3", 9)]):
        torch.testing.assert_close(_run(gmm, name, [prompt], [key]).native[0], together[row])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ddim(steps=5, gidance=3)", "did you mean 'guidance'"),
        ("ddim", "needs steps"),
        ("ddim(steps=0)", "steps=0"),
        ("ddim(steps=2.5)", "steps=2.5"),
        ("ddim(steps='2')", "steps='2'"),
        ("ddim(steps=2, guidance=true)", "guidance=True"),
        ("ddim(steps=5, eta=2)", "eta=2"),
        ("ddim(steps=5, guidance=much)", "guidance='much'"),
        ("zigzag(steps=10, zigzag_steps=12)", "at most 9"),
        ("zigzag(steps=10, inversion=relesed)", "'exact' or 'released'"),
        ("zigzag(steps=10, rounds=0)", "rounds=0"),
        ("ddim(steps=5, interval=[1, 2], interval_steps=[0, 1])", "contradict"),
        ("ddim(steps=5, interval=[1])", "interval"),
        ("dim(steps=5)", "did you mean 'ddim'"),
    ],
)
def test_bad_parameters_are_refused(text: str, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        resolve(parse_call(text), {})


def test_the_released_inversion_needs_a_ladder_that_ends_above_zero(gmm: Model) -> None:
    with pytest.raises(HarnessError, match="use inversion=exact"):
        _nfe(gmm, "zigzag(steps=4, inversion=released)")


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_a_resolved_samplers_text_means_the_same_sampler(name: str) -> None:
    """What other processes are told is that text, and a run's name depends on every parameter."""
    first = resolve(Call(name, {"steps": 12}), {"guidance": 5})
    assert repr(resolve(parse_call(str(first)), {})) == repr(first)


def test_defaults_come_from_the_text_then_the_benchmark() -> None:
    call = resolve(parse_call("zigzag(steps=7)"), {"steps": 50, "guidance": 2.0})
    assert call.params == {
        "steps": 7,
        "guidance": 2.0,
        "inversion_guidance": 0.0,
        "rounds": 1,
        "inversion": "exact",
    }
