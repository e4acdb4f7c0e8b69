"""Guidance policies: what they select, compute and refuse."""

from __future__ import annotations

import pytest
import torch

from harness.models.ladders import close_ladder, rho_grid
from harness.samplers.guidance import make_guidance

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
