"""Restart: jump back to a higher level with fresh noise, and solve again."""

from __future__ import annotations

import logging
from itertools import pairwise
from math import inf
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from harness.samplers.base import Clock, Denoise, Noise, Renoise, sampler
from harness.samplers.edm import NotNegative, churn
from harness.samplers.heun import heun_step
from harness.samplers.restart_intervals import (
    check_intervals,
    published_intervals,
    read_intervals,
    restarts_in_sigma,
    restarts_in_time,
)

Range = Annotated[list[float], Field(min_length=2, max_length=2)]
Interval = Annotated[list[float], Field(min_length=4, max_length=4)]

log = logging.getLogger(__name__)


def _complete(params: dict[str, Any]) -> dict[str, Any]:
    """Intervals as numbers: the published ones where none are given; grid and solver by them."""
    intervals = params.get("intervals")
    grid = params.get("grid") or ("time" if intervals is None else "karras")
    if isinstance(intervals, str):
        intervals = read_intervals(intervals, params["steps"])
    if intervals is None:
        if grid == "karras":
            check_intervals([])
        scale, intervals = published_intervals(params["guidance"])
        log.log(
            logging.INFO if scale == params["guidance"] else logging.WARNING,
            "restart at guidance %g: intervals=%s, published for Stable Diffusion at guidance %g",
            params["guidance"],
            intervals,
            scale,
        )
    check_intervals(intervals)
    solver = params.get("solver") or ("heun" if grid == "karras" else "euler")
    return {**params, "intervals": intervals, "grid": grid, "solver": solver}


def _remark(params: dict[str, Any], sigmas: torch.Tensor, clock: Clock) -> str | None:
    """The intervals as snapped to the ladder; None where they are what was asked for."""
    asked = params["intervals"]
    if params["grid"] == "time":
        found = restarts_in_time(clock, sigmas, asked)
    else:
        found = restarts_in_sigma(sigmas, asked, params["inner_rho"])
    used = [[float(levels[-1]), float(levels[0])] for _, levels in found.values()]
    pairs = [
        f"[{low:g}, {high:g}] is [{lower:.4g}, {higher:.4g}]"
        for (_, _, low, high), (lower, higher) in zip(asked, used, strict=True)
        if abs(lower - low) > 0.01 * low or abs(higher - high) > 0.01 * high
    ]
    return f"intervals in sigma, snapped to levels: {', '.join(pairs)}" if pairs else None


@sampler(
    "restart",
    title="Restart",
    paper="Xu et al. 2023, Restart Sampling for Improving Generative Processes, arXiv:2306.14878",
    complete=_complete,
    needs=("clock", "renoise"),
    remark=_remark,
)
def restart(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    noise: Noise,
    *,
    clock: Clock,
    renoise: Renoise,
    guidance: float = 1.0,
    intervals: list[Interval] | str | None = None,
    grid: Literal["karras", "time"] | None = None,
    solver: Literal["heun", "euler"] | None = None,
    s_noise: NotNegative = 1.0,
    s_churn: NotNegative = 0.0,
    inner_churn: NotNegative = 0.0,
    churn_range: Range | None = None,
    inner_rho: Annotated[float, Field(gt=0)] = 7.0,
) -> torch.Tensor:
    """Algorithm 1. `intervals` are [N, K, t_min, t_max] in sigma, t_min snapped to the ladder.

    `grid=karras` and `solver=heun` for the main loop are the published EDM code, which also takes
    noise at every step, churned or not; `grid=time` and `solver=euler` the published Stable
    Diffusion code, the default where no intervals are given: then they are the paper's for the
    nearest guidance. Inner steps are Heun's, the last one Euler's if it ends at sigma 0 or, in
    time, at the timesteps 1 or 0. Levels within `churn_range` are churned: by `s_churn` over the
    number of steps in the main loop, by `inner_churn` as it is in inner ones.
    """
    assert isinstance(intervals, list)  # see _complete
    if grid == "time":
        restarts = restarts_in_time(clock, sigmas, intervals)
        floor = clock.sigma_of(torch.tensor(1.5))
    else:
        restarts, floor = restarts_in_sigma(sigmas, intervals, inner_rho), torch.tensor(0.0)
    lowest, highest = churn_range or (0.0, inf)

    def step(
        x: torch.Tensor, s: torch.Tensor, t: torch.Tensor, churned: float, second: bool
    ) -> torch.Tensor:
        gamma = churned if lowest <= s <= highest else 0.0
        fresh = noise() if gamma > 0 or grid == "karras" else 0.0
        hat = clock.round(s * (1 + gamma)).clamp(min=s)
        x = x + (hat**2 - s**2).sqrt() * s_noise * fresh
        return heun_step(denoise, x, (s, hat, t), guidance, second=second)

    last = len(sigmas) - 2
    for i, (s, t) in enumerate(pairwise(sigmas)):
        x = step(x, s, t, churn(s_churn, last + 1), second=solver == "heun" and i < last)
        times, inner = restarts.get(i + 1, (0, sigmas))
        for _ in range(times):
            x = renoise(x, inner[-1], inner[0], noise, s_noise)
            for p, q in pairwise(inner):
                x = step(x, p, q, inner_churn, second=bool(q > floor))
    return x
