"""The published estimate: in closed form, and against its formulas in the networks' variables."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest
import torch

from harness.core.call import parse_call
from harness.engine.branches import Conditioned
from harness.engine.denoiser import Denoiser
from harness.engine.needs import apply
from harness.engine.policies.classifier_free import make_guidance
from harness.engine.probes.coefficients import sampler_coefficients
from harness.engine.probes.ga_eval import GaEval
from harness.engine.resolve import resolve, split_parameters
from harness.models.base import Condition
from harness.models.load import find
from harness.models.pipelines.flow import FlowSchedule
from harness.models.pipelines.noise_schedule import DiscreteSchedule
from harness.runs.folder import Settings
from harness.runs.plan import plan
from harness.runs.realised import realised_guidance
from harness.runs.single import expand
from harness.samplers.base import SAMPLERS
from tests.conftest import harness

LADDERS = find("shapes").ladders({})
ABAR = torch.linspace(0.999, 0.005, 1000, dtype=torch.float64)


class Constant:
    """Predicts one noise, whatever the state: `u` [C, h, w], or `u` + `apart` if conditional."""

    name = "constant"

    def __init__(self, u: torch.Tensor, apart: torch.Tensor) -> None:
        self.both = torch.stack([u, u + apart])

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        return self.both[condition["branch"]]

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        return x - sigma * output


def _seen(text: str, u: torch.Tensor, apart: torch.Tensor) -> tuple[GaEval, dict[str, Any]]:
    call = resolve(parse_call(text), {})
    ladder, policy, own = split_parameters(call)
    sigmas, network = LADDERS.ladder(**ladder), Constant(u, apart)
    found = GaEval(sampler_coefficients(LADDERS, call).step, network)
    rows = {"branch": torch.ones(2, dtype=torch.long)}, {"branch": torch.zeros(2, dtype=torch.long)}
    policies = make_guidance(sigmas, **policy)
    variants = dict.fromkeys(["weak", "strong"], Conditioned(network, *rows))
    denoise = Denoiser(network, *rows, policies, variants, applied=found)
    x = torch.randn(2, *u.shape, generator=torch.Generator().manual_seed(3)).double() * sigmas[0]
    start: Any = x, sigmas, lambda shape=None: torch.zeros_like(x)
    apply(SAMPLERS.get(call.name), denoise, start, own)
    return found, own


APART = torch.tensor([[[1.0, 2.0], [-2.0, 0.5]]], dtype=torch.float64)
ACROSS = torch.tensor([[[2.0, -1.0], [0.5, 2.0]]], dtype=torch.float64)  # at right angles to APART


@pytest.mark.parametrize("inversion", ["exact", "released"])
@pytest.mark.parametrize("along", [0.0, 0.7, -30.0])
def test_the_unconditional_prediction_stays_in_and_the_sign_is_dropped(
    along: float, inversion: str
) -> None:
    """|nominal + <u, c - u> / |c - u|^2|, of predictions that do not depend on the state."""
    u = ACROSS + along * APART
    text = f"zigzag(steps=6, guidance=4, inversion_guidance=1, inversion={inversion})"
    found, _ = _seen(text, u, APART)
    assert len(found.rounds) == 5
    mean = found.scale(4.0)
    if inversion == "exact":
        assert mean.numpy() == pytest.approx(abs(2 * 4 - 1 + along), rel=1e-9)
    else:  # it reads the state at another level: no affair of guidance, and yet in the estimate
        assert bool(((mean - abs(7 + along)).abs() > 0.01).all())


def test_every_round_is_one_more_estimate() -> None:
    """The first round makes 2 * 4 - 1, each further one 3 more."""
    found, _ = _seen(
        "zigzag(steps=6, guidance=4, inversion_guidance=1, rounds=3, zigzag_steps=2)", ACROSS, APART
    )
    assert [float(scale[0]) for _, scale in found.rounds] == pytest.approx([7, 10, 13] * 2)
    assert found.scale(4.0).numpy() == pytest.approx(10)


def test_the_weak_and_the_strong_model_of_w2sd_are_both_in_it() -> None:
    found, _ = _seen(
        "w2sd(steps=4, guidance=5, strong_guidance=3, weak_guidance=2)", ACROSS + APART, APART
    )
    assert len(found.rounds) == 3
    assert found.scale(5.0).numpy() == pytest.approx(5 + 3 - 2 + 1)


def test_without_altered_steps_it_is_the_samplers_own_guidance() -> None:
    found, own = _seen("zigzag(steps=4, guidance=3, zigzag_steps=0)", ACROSS, APART)
    assert found.rounds == []
    assert found.scale(own["guidance"]).tolist() == [3.0, 3.0]


def test_of_one_branch_or_of_two_that_are_alike_it_is_unknown() -> None:
    found, _ = _seen("zigzag(steps=4, guidance=1, inversion_guidance=0)", ACROSS, APART)
    assert bool(found.scale(1.0).isnan().all())
    found, _ = _seen("zigzag(steps=4, guidance=3)", ACROSS, 0 * APART)
    assert bool(found.scale(3.0).isnan().all())


def _published(kind: str, levels: tuple[float, float], *states: torch.Tensor) -> torch.Tensor:
    """The published formulas, in the latents z of the network: states z, z_next, and D_u, D_c."""
    (s, t), (x, reached, d_u, d_c) = levels, states
    if kind == "flow":
        z, z_next, time, time_next = x / (1 + s), reached / (1 + t), s / (1 + s), t / (1 + t)
        moved = (z_next - z) / (time_next - time)
        u, c = ((z - d) / time for d in (d_u, d_c))
    else:
        a, a_next = 1 / (1 + s**2), 1 / (1 + t**2)
        z, z_next = x * sqrt(a), reached * sqrt(a_next)
        stay = sqrt(a * a_next) + sqrt((1 - a) * (1 - a_next))
        turn = sqrt(a * (1 - a_next)) - sqrt((1 - a) * a_next)
        moved = (z_next - stay * z) / turn
        u, c = ((sqrt(a) * z - d) / sqrt(1 - a) for d in (d_u, d_c))
        if kind == "epsilon":
            moved = (z_next - sqrt(a_next / a) * z) / (
                sqrt(1 - a_next) - sqrt(a_next / a) * sqrt(1 - a)
            )
            u, c = ((z - sqrt(a) * d) / sqrt(1 - a) for d in (d_u, d_c))
    return ((moved * (c - u)).sum() / ((c - u) ** 2).sum()).abs()


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "flow"])
def test_it_is_in_the_output_that_the_network_has(kind: str) -> None:
    network: Any = FlowSchedule(1.0, 0.001, 1000)
    if kind != "flow":
        network = DiscreteSchedule(ABAR, prediction=kind)
    s, t = 3.0, 1.7
    found = GaEval(torch.tensor([s, s, s, t]), network)
    draws = torch.randn(4, 1, 3, 4, 4, generator=torch.Generator().manual_seed(5)).double()
    x, reached, d_u, d_c = draws * torch.tensor([3.0, 1.7, 1, 1]).reshape(-1, 1, 1, 1, 1)
    one = torch.ones(1, dtype=torch.bool)
    for state, level in ((x, s), (x + 1, t), (x - 1, s), (reached, t)):
        at = (state, torch.tensor(level).double())
        found.see(torch.tensor([4.0]), (d_u, d_c, d_c), at, one, plain=True)
    expected = _published(kind, (s, t), x, reached, d_u, d_c)
    assert float(found.scale(4.0)) == pytest.approx(float(expected), rel=1e-6)


def test_it_stands_beside_the_nominal_and_the_realised_scale(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = plan("gmm", "zigzag(steps=5, guidance=3)", noise_key="seed")
    request = expand(["class 3"], [], [0, 1, 2], None)
    found, one = (realised_guidance(job, request, Settings(batch_size=n)) for n in (None, 1))
    assert found.ga_eval is not None
    assert found.ga_eval_mean is not None
    torch.testing.assert_close(found.ga_eval, one.ga_eval, equal_nan=True)
    torch.testing.assert_close(found.ga_eval_mean, one.ga_eval_mean, equal_nan=True)
    assert bool(found.ga_eval[-1].isnan().all())  # the last step is not altered
    torch.testing.assert_close(found.ga_eval_mean, found.ga_eval.nanmean(0))
    shown = ["guidance", "--model", "gmm", "--prompt", "class 3", "--sampler"]
    assert harness(monkeypatch, *shown, "zigzag(steps=5, guidance=3)") == 0
    assert "arXiv:2602.22570" in capsys.readouterr().out
    assert harness(monkeypatch, *shown, "heun(steps=5, guidance=3)") == 0
    assert "ga_eval: none" in capsys.readouterr().out
