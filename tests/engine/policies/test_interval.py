"""Guidance in an interval: the papers' steps, bounds of the ladder, and what is refused."""

from __future__ import annotations

import pytest
import torch

from harness.core.errors import HarnessError
from harness.engine.policies.classifier_free import ClassifierFree, make_guidance
from harness.engine.policies.interval import Interval
from harness.models.ladders import close_ladder, rho_grid

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
    guided = [i for i in range(32) if policy.scale(asked, float(sigmas[i])) != 1]
    assert guided == list(steps)
    assert guided == [i for i in range(32) if by_step.scale(asked, float(sigmas[i])) != 1]


SIGMAS = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0], dtype=torch.float64)


def _bounds(guidance: ClassifierFree) -> tuple[float, float]:
    (interval,) = guidance.changes
    assert isinstance(interval, Interval)
    return interval.low, interval.high


def test_an_intervals_printed_bounds_are_levels_of_the_ladder() -> None:
    policy = make_guidance(SIGMAS, interval=[1.01, 3.98])
    assert _bounds(policy) == (1.0, 4.0)
    between = make_guidance(SIGMAS, interval=[0.9, 4.3])
    assert _bounds(between) == (0.9, 4.3)
    steps = make_guidance(SIGMAS, interval_steps=[1, 2])
    assert _bounds(steps) == (1.0, 4.0)
    last = make_guidance(SIGMAS, interval_steps=[3, 3])
    assert _bounds(last) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"interval": [2.0, 1.0]}, "smaller first"),
        ({"interval": [9.0, 10.0]}, "begin below"),
        ({"interval": [1.2, 1.8]}, "holds no step"),
        ({"interval_steps": [2, 4]}, "within steps 0 to 3"),
    ],
)
def test_bad_intervals_are_refused(arguments: dict[str, list[float]], words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        make_guidance(SIGMAS, **arguments)
