"""Ladders: the decreasing sigmas a run steps through, [N+1] float64 on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

import torch
from torch.nn import functional as F

from harness.core.errors import HarnessError, unknown

Spacing = Literal["leading", "trailing", "linspace", "karras", "karras_rounded", "even"]

RHO = 7.0
"""The default of Karras et al. 2022."""


def rho_grid(levels: int, sigma_min: float, sigma_max: float, rho: float = RHO) -> torch.Tensor:
    """`levels` sigmas from `sigma_max` down to `sigma_min`, even in sigma^(1/rho).

    Karras et al. 2022, equation 5.
    """
    ramp = torch.linspace(0, 1, levels, dtype=torch.float64)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    sigmas = (high + ramp * (low - high)) ** rho
    sigmas[0] = sigma_max  # the power's rounding must not leave the net's range
    if levels > 1:
        sigmas[-1] = sigma_min
    return sigmas


def close_ladder(
    grid: Callable[[int], torch.Tensor], steps: int, bottom: float, last: float
) -> torch.Tensor:
    """N+1 sigmas: the grid's N and the family's last level, or N+1 of a grid that ends there."""
    return check_ladder(
        grid(steps + 1) if bottom == last else F.pad(grid(steps), (0, 1), value=last)
    )


def check_ladder(sigmas: torch.Tensor) -> torch.Tensor:
    """The same sigmas, or HarnessError if they do not strictly decrease."""
    if not bool((sigmas[1:] < sigmas[:-1]).all()):
        raise HarnessError(
            f"a ladder of {len(sigmas) - 1} steps from sigma {float(sigmas[0]):.4g} to "
            f"{float(sigmas[-1]):.4g} repeats a level: take fewer steps or a wider range"
        )
    return sigmas


def choose_spacing(
    requested: str | None, default: str, known: Collection[str], rho: float | None, where: str = ""
) -> str:
    """The requested spacing or the default one; HarnessError for one that is not `known`, and for
    a rho beside a spacing that takes none."""
    spacing = requested or default
    if spacing not in known:
        raise unknown("spacing", spacing, known, where=where)
    takers = [name for name in known if name.startswith("karras")]
    if rho is not None and spacing not in takers:
        raise HarnessError(f"rho belongs to spacing={' and '.join(takers)}, not to {spacing}")
    if rho == 0:
        raise HarnessError("rho 0: a ladder is even in sigma^(1/rho), give another number")
    return spacing


def karras_ladder(
    steps: int, low: float, high: float, rho: float | None, last: float
) -> torch.Tensor:
    """N+1 sigmas even in sigma^(1/rho), 7 if it is not given; see `close_ladder`."""
    return close_ladder(lambda n: rho_grid(n, low, high, rho or RHO), steps, low, last)


def check_range(sigma_min: float, sigma_max: float, low: float, high: float) -> None:
    """Raise unless low <= sigma_min < sigma_max <= high (with a relative slack of 1e-6)."""
    if not (low * (1 - 1e-6) <= sigma_min < sigma_max <= high * (1 + 1e-6)):
        raise HarnessError(
            f"sigma_min {sigma_min:.6g} and sigma_max {sigma_max:.6g} must lie within the model's "
            f"range {low:.6g} to {high:.6g}, the smaller first"
        )
