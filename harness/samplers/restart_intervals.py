"""Restart's intervals: parsing, the paper's tables, and the noise levels they define."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch

from harness.core.errors import HarnessError
from harness.samplers.base import Clock

Restarts = dict[int, tuple[int, torch.Tensor]]
"""Ladder index after which to restart: (how often, the inner levels [N] down to that index's)."""

STABLE_DIFFUSION: dict[float, list[list[float]]] = {
    2.0: [[5, 2, 1, 9], [5, 2, 5, 10]],
    3.0: [[10, 2, 0.1, 3]],
    5.0: [[10, 2, 0.1, 2]],
    8.0: [[10, 2, 0.1, 2]],
}
"""The paper's intervals [N, K, t_min, t_max] for Stable Diffusion 1.5, by guidance scale."""


def published_intervals(guidance: float) -> tuple[float, list[list[float]]]:
    """The published scale nearest to `guidance` (of two, the smaller), and its intervals."""
    nearest = min(STABLE_DIFFUSION, key=lambda scale: abs(scale - guidance))
    return nearest, STABLE_DIFFUSION[nearest]


def read_intervals(text: str, steps: int) -> list[Any]:
    """Intervals as the published code takes them.

    `text` is its JSON, {"any key": [N, K, t_min, t_max], ...}, or FILE or FILE:LINE (from 1), a
    file of lines `STEPS JSON`; without LINE the only one for the run's `steps`.
    """
    if text.lstrip().startswith("{"):
        return _from_json(text, text)
    path, only = text, None
    if not Path(text).is_file() and (match := re.fullmatch(r"(.+):(\d+)", text)):
        path, only = match[1], int(match[2])
    lines = _lines(path)
    if only is not None and only not in lines:
        raise HarnessError(f"{path} has no intervals in line {only}: it has {len(lines)} lines")
    found = [at for at, (count, _) in lines.items() if count == steps and only in (None, at)]
    if len(found) == 1:
        return _from_json(lines[found[0]][1], f"{path}:{found[0]}")
    known = ", ".join(f"{path}:{at} ({count} steps)" for at, (count, _) in lines.items())
    raise HarnessError(
        f"restart with steps={steps}: {len(found) or 'none'} of the intervals in {text} are for so "
        f"many steps; choose a line and its steps: {known}"
    )


def _lines(path: str) -> dict[int, tuple[int, str]]:
    """Line number: (steps, JSON) of a file of lines such as '18 {"0": [3, 2, 0.06, 0.30]}'."""
    try:
        rows = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        raise HarnessError(
            f"restart cannot read intervals={path!r}: give [[3, 2, 0.06, 0.30]], the published "
            "code's JSON, or a file of lines such as '18 {\"0\": [3, 2, 0.06, 0.30]}'"
        ) from None
    lines = {}
    for at, row in enumerate(rows, 1):
        match = re.fullmatch(r"\s*(\d+)\s+(\{.*\})\s*", row)
        if match:
            lines[at] = (int(match[1]), match[2])
        elif row.strip():
            raise HarnessError(f"{path}:{at}: expected STEPS JSON, found {row.strip()[:80]!r}")
    return lines


def _from_json(text: str, where: str) -> list[Any]:
    # As pairs: equal keys must not swallow each other, the keys mean nothing.
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except json.JSONDecodeError as error:
        raise HarnessError(f"restart: {where} is not JSON: {error.msg}") from None
    return [interval for _, interval in pairs]


def check_intervals(intervals: list[Any]) -> None:
    """HarnessError unless each is [N, K, t_min, t_max] of whole N > 1 and K > 0, t_min < t_max."""
    if not intervals:
        raise HarnessError(
            "restart with no interval is a plain solver: give intervals=[[N, K, t_min, t_max], "
            "...], or take heun, edm or ddim"
        )
    for interval in intervals:
        numbers = isinstance(interval, list) and all(type(v) in (int, float) for v in interval)
        if not numbers or len(interval) != 4:
            raise HarnessError(f"restart interval {interval!r}: expected [N, K, t_min, t_max]")
        count, times, low, high = interval
        if count != int(count) or times != int(times) or count < 2 or times < 1:
            raise HarnessError(
                f"{_label(interval)}: N must be a whole number of grid points from 2 on, K a whole "
                "number of repeats from 1 on"
            )
        if not 0 <= low < high:
            raise HarnessError(f"{_label(interval)}: t_min must be at least 0 and below t_max")


def restarts_in_sigma(sigmas: torch.Tensor, intervals: list[list[float]], rho: float) -> Restarts:
    """Inner levels even in sigma^(1/rho) (Karras et al. 2022, equation 5)."""
    top = float(sigmas[0])
    for interval in intervals:
        if interval[3] > top * (1 + 1e-9):
            raise HarnessError(f"{_label(interval)} lies above the ladder's first sigma {top:g}")
    return {
        index: (times, _rho_grid(count, float(sigmas[index]), high, rho))
        for index, (count, times, high) in snap(sigmas, intervals).items()
    }


def restarts_in_time(clock: Clock, sigmas: torch.Tensor, intervals: list[list[float]]) -> Restarts:
    """Inner levels even in the model's timestep, rounded, as the published Stable Diffusion code's.

    t_max is snapped to the nearest timestep of the model, of its ladder or not.
    """
    for interval in intervals:
        most = _reachable(clock, interval[3])
        if interval[3] > most * (1 + 1e-6):
            raise HarnessError(f"{_label(interval)} lies above the model's highest sigma {most:g}")
    found: Restarts = {}
    for index, (count, times, high) in snap(sigmas, intervals).items():
        ends = clock.time_of(torch.stack([torch.tensor(high).double(), sigmas[index]])).round()
        first, last = ends.tolist()
        if first - last < count - 1:
            raise HarnessError(
                f"restart interval from sigma {high:g}: {count} points do not fit between the "
                f"timesteps {first:g} and {last:g}"
            )
        grid = torch.linspace(first, last, count, dtype=torch.float64).round()
        levels = clock.sigma_of(grid)
        levels[-1] = sigmas[index]
        found[index] = (times, levels)
    return found


def _reachable(clock: Clock, sigma: float) -> float:
    """Sigma, or the model's highest where it is lower."""
    try:
        time = clock.time_of(torch.tensor(sigma, dtype=torch.float64))
    except HarnessError as error:
        raise HarnessError(
            f"restart in the model's own time, as the published intervals for Stable Diffusion "
            f"are: {error}. Elsewhere give intervals=[[N, K, t_min, t_max], ...] in sigma, for "
            "example [[3, 2, 0.06, 0.30]]"
        ) from None
    return float(clock.sigma_of(time))


def snap(sigmas: torch.Tensor, intervals: list[list[float]]) -> dict[int, tuple[int, int, float]]:
    """Ladder index nearest to each interval's t_min: (N, K, t_max).

    The published code drops an interval that snaps to another's level or to the first one; here
    both are errors.
    """
    found: dict[int, tuple[int, int, float]] = {}
    for interval in intervals:
        count, times, low, high = interval
        index = int((sigmas - low).abs().argmin())
        level = float(sigmas[index])
        if level >= high:
            raise HarnessError(
                f"{_label(interval)}: the ladder's nearest level to t_min is {level:.6g}, which is "
                "not below t_max"
            )
        if index == 0:
            raise HarnessError(
                f"{_label(interval)} ends at the ladder's first level {level:.6g}, where no step "
                "has been taken yet: take more steps"
            )
        if index in found:
            raise HarnessError(
                f"{_label(interval)} collides with another: both end at the ladder's level "
                f"{level:.6g}"
            )
        found[index] = (int(count), int(times), high)
    return found


def _rho_grid(points: int, low: float, high: float, rho: float) -> torch.Tensor:
    ramp = torch.linspace(0, 1, points, dtype=torch.float64)
    grid = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    grid[0], grid[-1] = high, low
    return grid


def _label(interval: list[float]) -> str:
    return "restart interval [" + ", ".join(f"{value:g}" for value in interval) + "]"
