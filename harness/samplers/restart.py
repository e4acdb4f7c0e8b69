"""Restart: jump back to a higher level with fresh noise, and solve again."""

from __future__ import annotations

from itertools import pairwise
from math import inf
from typing import Annotated, Any

import torch
from pydantic import Field

from harness.errors import HarnessError
from harness.samplers.base import Denoise, Noise, sampler
from harness.samplers.edm import NotNegative, churn
from harness.samplers.heun import heun_step

Range = Annotated[list[float], Field(min_length=2, max_length=2)]
Interval = Annotated[list[float], Field(min_length=4, max_length=4)]


def _check(params: dict[str, Any]) -> None:
    if not params.get("intervals"):
        raise HarnessError(
            "restart needs intervals=[[N, K, t_min, t_max], ...]: K times from sigma t_max down to "
            "t_min on a grid of N points; for example [[3, 2, 0.06, 0.30]]"
        )
    for count, times, low, high in params["intervals"]:
        if count != int(count) or times != int(times) or count < 2 or times < 1:
            raise HarnessError(
                f"restart interval [{count:g}, {times:g}, {low:g}, {high:g}]: N must be a whole "
                "number of grid points from 2 on, K a whole number of repeats from 1 on"
            )


@sampler(
    "restart",
    title="Restart",
    paper="Xu et al. 2023, Restart Sampling for Improving Generative Processes, arXiv:2306.14878",
    ladder=("spacing", "sigma_min", "sigma_max", "rho"),
    check=_check,
)
def restart(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    noise: Noise,
    *,
    guidance: float = 1.0,
    intervals: list[Interval] | None = None,
    s_noise: NotNegative = 1.0,
    s_churn: NotNegative = 0.0,
    inner_churn: NotNegative = 0.0,
    churn_range: Range | None = None,
    inner_rho: Annotated[float, Field(gt=0)] = 7.0,
) -> torch.Tensor:
    """Algorithm 1. `intervals` are [N, K, t_min, t_max] in sigma, t_min snapped to the ladder.

    Levels within `churn_range` are churned: by `s_churn` over the number of steps in the main loop,
    by `inner_churn` as it is in inner ones. Noise is taken at every step, as the published code
    does.
    """
    snapped = snap(sigmas, intervals or [])
    lowest, highest = churn_range or (0.0, inf)
    main_churn = churn(s_churn, len(sigmas) - 1)
    for i, (s, t) in enumerate(pairwise(sigmas)):
        hat = s * (1 + (main_churn if lowest <= s <= highest else 0.0))
        x = x + (hat**2 - s**2).sqrt() * s_noise * noise()
        x = heun_step(denoise, x, (s, hat, t), guidance, second=t > 0)
        if i + 1 not in snapped:
            continue
        count, times, high = snapped[i + 1]
        grid = _grid(count, float(t), high, inner_rho)
        for _ in range(times):
            x = x + (grid[0] ** 2 - grid[-1] ** 2).sqrt() * s_noise * noise()
            for j, (p, q) in enumerate(pairwise(grid)):
                hat = p * (1 + (inner_churn if lowest <= p <= highest else 0.0))
                x = x + (hat**2 - p**2).sqrt() * s_noise * noise()
                x = heun_step(denoise, x, (p, hat, q), guidance, second=j < count - 2 or q > 0)
    return x


def snap(sigmas: torch.Tensor, intervals: list[list[float]]) -> dict[int, tuple[int, int, float]]:
    """Ladder index of each interval's t_min: (N, K, t_max).

    The published code drops an interval that snaps to another's level or to the first one; here
    both are errors.
    """
    found: dict[int, tuple[int, int, float]] = {}
    for count, times, low, high in intervals:
        label = f"restart interval [{count:g}, {times:g}, {low:g}, {high:g}]"
        index = int((sigmas - low).abs().argmin())
        level = float(sigmas[index])
        if high > float(sigmas[0]) * (1 + 1e-9):
            raise HarnessError(f"{label} lies above the ladder's first sigma {float(sigmas[0]):g}")
        if level >= high:
            raise HarnessError(
                f"{label}: the ladder's nearest level to t_min is {level:.6g}, which is not below "
                "t_max"
            )
        if index in found:
            raise HarnessError(
                f"{label} collides with another: both end at the ladder's level {level:.6g}"
            )
        found[index] = (int(count), int(times), high)
    return found


def _grid(points: int, low: float, high: float, rho: float) -> torch.Tensor:
    """EDM's grid of `points` levels from `high` to `low` (equation 5)."""
    ramp = torch.linspace(0, 1, points, dtype=torch.float64)
    grid = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    grid[0], grid[-1] = high, low
    return grid
