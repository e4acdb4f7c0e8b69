"""Ladders: the decreasing sigmas a run steps through, [N+1] float64 on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import log
from typing import Literal

import torch
from torch.nn import functional as F

from harness.core.errors import HarnessError, unknown
from harness.models.base import Ladders

Spacing = Literal[
    "leading", "trailing", "linspace", "karras", "karras_rounded", "even",
    "exponential", "polyexponential", "beta", "ays", "lcm",
]  # fmt: skip

_ELSEWHERE = {
    "ays": "is a table of Stable Diffusion 1 and 2 and of Stable Diffusion XL",
    "lcm": "is of networks with whole timesteps, such as a Stable Diffusion's",
}
"""Spacings of some models only, and of which."""

RHO = 7.0
"""The default of Karras et al. 2022."""


def rho_grid(levels: int, sigma_min: float, sigma_max: float, rho: float = RHO) -> torch.Tensor:
    """`levels` sigmas from `sigma_max` down to `sigma_min`, even in sigma^(1/rho).

    Karras et al. 2022, equation 5.
    """
    ramp = torch.linspace(0, 1, levels, dtype=torch.float64)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return _ends((high + ramp * (low - high)) ** rho, sigma_min, sigma_max)


def exponential_grid(
    levels: int, sigma_min: float, sigma_max: float, rho: float = 1.0
) -> torch.Tensor:
    """`levels` sigmas from `sigma_max` down to `sigma_min`: log sigma falls as ramp^rho, ramp even
    in [1, 0]. k-diffusion's and diffusers' exponential grid for rho = 1, its polyexponential one.
    """
    ramp = torch.linspace(1, 0, levels, dtype=torch.float64) ** rho
    return _ends((ramp * log(sigma_max / sigma_min)).exp() * sigma_min, sigma_min, sigma_max)


def beta_grid(levels: int, sigma_min: float, sigma_max: float) -> torch.Tensor:
    """`levels` sigmas at quantiles of a Beta(0.6, 0.6) between the ends, as diffusers has them.

    Lee et al. 2024, Beta Sampling is All You Need, arXiv:2407.12173.
    """
    from scipy.stats import beta

    even = 1 - torch.linspace(0, 1, levels, dtype=torch.float64).numpy()
    quantiles = torch.from_numpy(beta.ppf(even, 0.6, 0.6))
    return _ends(sigma_min + quantiles * (sigma_max - sigma_min), sigma_min, sigma_max)


def _ends(sigmas: torch.Tensor, sigma_min: float, sigma_max: float) -> torch.Tensor:
    """The same with exact ends, which rounding must not lead out of the network's range."""
    sigmas[0] = sigma_max
    if len(sigmas) > 1:
        sigmas[-1] = sigma_min
    return sigmas


GRIDS_OF_LEVELS = ("karras", "exponential", "polyexponential", "beta")
"""Spacings that need the lowest and highest level of a range only."""


def grid_of_levels(
    spacing: str, levels: int, sigma_min: float, sigma_max: float, rho: float | None = None
) -> torch.Tensor:
    """A grid by the name of its spacing, one of GRIDS_OF_LEVELS."""
    if spacing == "karras":
        return rho_grid(levels, sigma_min, sigma_max, rho or RHO)
    if spacing == "beta":
        return beta_grid(levels, sigma_min, sigma_max)
    return exponential_grid(levels, sigma_min, sigma_max, rho or 1.0)


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
        if spacing in _ELSEWHERE:
            raise HarnessError(
                f"spacing={spacing} {_ELSEWHERE[spacing]}; {where or 'this model'} "
                f"knows {', '.join(known)}"
            )
        raise unknown("spacing", spacing, known, where=where)
    takers = [name for name in known if name.startswith("karras") or name == "polyexponential"]
    if rho is not None and spacing not in takers:
        raise HarnessError(f"rho belongs to spacing={' and '.join(takers)}, not to {spacing}")
    if rho == 0:
        raise HarnessError("rho 0: a ladder is even in sigma^(1/rho), give another number")
    return spacing


def ladder_of_levels(
    spacing: str, steps: int, low: float, high: float, rho: float | None, last: float
) -> torch.Tensor:
    """N+1 sigmas by one of GRIDS_OF_LEVELS; see `close_ladder`."""
    return close_ladder(lambda n: grid_of_levels(spacing, n, low, high, rho), steps, low, last)


def given_ladder(ladders: Ladders, sigmas: Sequence[float]) -> torch.Tensor:
    """The user's own sigmas [N+1], from the first level to the last, for a model.

    Raises HarnessError unless they strictly decrease, lie within the model's range, and end where
    nothing is left to remove: at 0, or no higher than the model's own ladders end.
    """
    found = torch.tensor(sigmas, dtype=torch.float64)
    if len(found) < 2 or not bool((found[1:] < found[:-1]).all()) or found[-1] < 0:
        raise HarnessError(
            "sigmas must be two levels or more that strictly decrease, from the first to the last, "
            "which may be 0"
        )
    low = float(found[-2]) if len(found) > 2 else None
    own = ladders.ladder(1, sigma_max=float(found[0]), sigma_min=low)
    if found[0] > own[0] * 1.01:  # a family's grid may round its ends
        raise HarnessError(
            f"sigmas begin at {float(found[0]):g}, above this model's highest level "
            f"{float(own[0]):.6g}"
        )
    if found[-1] > own[-1] * 1.001:  # it may be typed rounded
        raise HarnessError(
            f"sigmas end at {float(found[-1]):g}, where noise is left in a picture: end them at 0"
            + (f", or at this model's own last level {float(own[-1]):.6g}" if own[-1] > 0 else "")
        )
    return found


def check_range(sigma_min: float, sigma_max: float, low: float, high: float) -> None:
    """Raise unless low <= sigma_min < sigma_max <= high (with a relative slack of 1e-6)."""
    if not (low * (1 - 1e-6) <= sigma_min < sigma_max <= high * (1 + 1e-6)):
        raise HarnessError(
            f"sigma_min {sigma_min:.6g} and sigma_max {sigma_max:.6g} must lie within the model's "
            f"range {low:.6g} to {high:.6g}, the smaller first"
        )
