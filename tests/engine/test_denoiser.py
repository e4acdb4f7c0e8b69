from __future__ import annotations

import pytest
import torch

from harness.core.errors import HarnessError
from harness.engine.branches import Conditioned
from harness.engine.denoiser import Denoiser
from harness.engine.policies.base import PolicyContext
from harness.engine.policies.classifier_free import ClassifierFree
from harness.engine.policies.interval import Interval
from harness.engine.policies.rescale import Rescale
from harness.models.base import Condition


class Recorder:
    """A network that answers its condition's value, plus x, and records what it was asked."""

    name = "recorder"

    def __init__(self) -> None:
        self.calls: list[list[float]] = []

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        self.calls.append(condition["value"][:, 0].tolist())
        return x + condition["value"].reshape(-1, 1, 1, 1)

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        return output


def _denoiser(policy: ClassifierFree | None = None, batch: int = 3) -> tuple[Recorder, Denoiser]:
    network = Recorder()
    condition = {"value": torch.arange(1.0, batch + 1).reshape(-1, 1)}
    negative = {"value": -torch.arange(1.0, batch + 1).reshape(-1, 1)}
    return network, Denoiser(network, condition, negative, policy or ClassifierFree())


def _counts(denoise: Denoiser) -> dict[str, list[int]]:
    return {branch: n.tolist() for (_, branch), n in denoise.evaluations.items()}


AT = PolicyContext(torch.tensor([3.0, 2.0, 1.5, 1.0, 0.5, 0.0], dtype=torch.float64))


def _interval(low: float, high: float) -> Interval:
    return Interval(AT, interval=[low, high])


X = torch.randn(3, 2, 2, 2, generator=torch.Generator().manual_seed(0))
C = torch.tensor([1.0, 2.0, 3.0]).reshape(-1, 1, 1, 1)


def test_both_branches_go_through_the_network_at_once() -> None:
    network, denoise = _denoiser()
    out = denoise(X, 1.0, guidance=3.0)
    torch.testing.assert_close(out, X - C + 3.0 * 2 * C)
    assert network.calls == [[-1, -2, -3, 1, 2, 3]]
    assert _counts(denoise) == {"cond": [1, 1, 1], "uncond": [1, 1, 1]}


@pytest.mark.parametrize(("weight", "sign", "branch"), [(1.0, 1, "cond"), (0.0, -1, "uncond")])
def test_a_branch_that_cannot_matter_is_not_run(weight: float, sign: int, branch: str) -> None:
    network, denoise = _denoiser()
    assert torch.equal(denoise(X, 1.0, guidance=weight), X + sign * C)
    assert network.calls == [[sign * 1, sign * 2, sign * 3]]
    assert _counts(denoise)[branch] == [1, 1, 1]
    assert sum(map(sum, _counts(denoise).values())) == 3


def test_each_sample_has_its_own_guidance_and_its_own_count() -> None:
    network, denoise = _denoiser()
    out = denoise(X, 1.0, guidance=torch.tensor([0.0, 1.0, 2.0]))
    torch.testing.assert_close(out, X + torch.tensor([-1.0, 2.0, 9.0]).reshape(-1, 1, 1, 1))
    assert network.calls == [[-1, -3, 2, 3]]
    assert _counts(denoise) == {"cond": [0, 1, 1], "uncond": [1, 0, 1]}


def test_outside_an_interval_the_scale_is_one_even_for_an_inversion() -> None:
    _, denoise = _denoiser(ClassifierFree(_interval(1.0, 2.0)))
    torch.testing.assert_close(denoise(X, 3.0, guidance=5.0), X + C)
    torch.testing.assert_close(denoise(X, 1.0, guidance=5.0), X + C)
    torch.testing.assert_close(denoise(X, 1.5, guidance=0.0, step=3.0), X + C)
    assert _counts(denoise) == {"cond": [3, 3, 3], "uncond": [0, 0, 0]}
    torch.testing.assert_close(denoise(X, 0.5, guidance=2.0, step=2.0), X - C + 2 * 2 * C)


def test_rescaled_guidance_keeps_the_conditional_deviation() -> None:
    _, denoise = _denoiser(ClassifierFree(Rescale(AT, guidance_rescale=1.0)))
    noise = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    out = denoise(noise, 1.0, guidance=4.0)
    torch.testing.assert_close(out.std((1, 2, 3)), (noise + C).std((1, 2, 3)))
    denoise(noise, 1.0, guidance=0.0)
    assert _counts(denoise) == {"cond": [2, 2, 2], "uncond": [2, 2, 2]}
    denoise(noise, 1.0, guidance=1.0)
    assert _counts(denoise) == {"cond": [3, 3, 3], "uncond": [2, 2, 2]}


def test_a_network_without_a_null_branch_says_so() -> None:
    denoise = Denoiser(Recorder(), {"value": torch.ones(3, 1)}, None, ClassifierFree())
    assert torch.equal(denoise(X, 1.0, guidance=1.0), X + 1)
    with pytest.raises(HarnessError, match="guidance must be 1, not 2"):
        denoise(X, 1.0, guidance=2.0)


class Constant(Recorder):
    """A network whose D is a constant."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        self.calls.append(condition["value"][:, 0].tolist())
        return torch.full_like(x, self.value) / 2

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        return output * 2  # D is not what the network says


@pytest.mark.parametrize(("weight", "calls"), [(3.0, (1, 1)), (1.0, (1, 0)), (0.0, (0, 1))])
def test_a_guide_is_what_guidance_leads_away_from(weight: float, calls: tuple[int, int]) -> None:
    main, guide = Constant(5.0), Constant(2.0)
    condition = {"value": torch.ones(3, 1)}
    away = Conditioned(guide, {"value": torch.zeros(3, 1)})
    denoise = Denoiser(main, condition, None, ClassifierFree(), guide=away)
    out = denoise(X, 1.0, guidance=weight)
    torch.testing.assert_close(out, torch.full_like(X, 2.0 + weight * 3.0))
    assert (len(main.calls), len(guide.calls)) == calls
    counts = {key: n.tolist() for key, n in denoise.evaluations.items()}
    assert counts["main", "cond"] == [calls[0]] * 3
    assert counts["guide", "cond"] == [calls[1]] * 3
    assert counts["main", "uncond"] == [0, 0, 0]


def test_without_a_second_branch_guidance_is_refused() -> None:
    denoise = Denoiser(Recorder(), {"value": torch.ones(3, 1)}, None, ClassifierFree())
    with pytest.raises(HarnessError, match=r"no unconditional branch.*--guide"):
        denoise(X, 1.0, guidance=2.0)
