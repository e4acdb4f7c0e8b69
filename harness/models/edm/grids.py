"""The grids of levels that the EDM paper compares: its own and those of VP, VE and iDDPM.

Karras et al. 2022, table 1, row "time steps", each over the network's range.
"""

from __future__ import annotations

from collections.abc import Callable
from math import expm1, log, pi, sqrt

import torch

from harness.models.ladders import GRIDS_OF_LEVELS

RANGES = {
    **dict.fromkeys(GRIDS_OF_LEVELS, (0.002, 80.0)),
    "vp": (sqrt(expm1(19.9e-6 / 2 + 0.1e-3)), sqrt(expm1(19.9 / 2 + 0.1))),
    "ve": (0.02, 100.0),
    "iddpm": (0.002, 81.0),
}
"""The default lowest and highest level of each grid."""


def vp_grid(levels: int, low: float, high: float, epsilon: float = 1e-3) -> torch.Tensor:
    """Levels even in the time of the VP SDE whose level is `low` at `epsilon` and `high` at 1."""
    rise = 2 * (log(low**2 + 1) / epsilon - log(high**2 + 1)) / (epsilon - 1)
    start = log(high**2 + 1) - rise / 2
    time = 1 + torch.linspace(0, 1, levels, dtype=torch.float64) * (epsilon - 1)
    return (rise * time**2 / 2 + start * time).expm1().sqrt()


def ve_grid(levels: int, low: float, high: float) -> torch.Tensor:
    """Levels even in the logarithm of sigma."""
    ramp = torch.linspace(0, 1, levels, dtype=torch.float64)
    return (high**2 * (low**2 / high**2) ** ramp).sqrt()


def iddpm_grid(
    levels: int, low: float, high: float, M: int = 1000, C_1: float = 0.001, C_2: float = 0.008
) -> torch.Tensor:
    """Levels even in the index of iDDPM's own that lie in [low, high]."""
    known = cosine_levels(M, C_1, C_2, torch.float64)
    known = known[(known >= low) & (known <= high)]
    stride = (len(known) - 1) / max(levels - 1, 1)
    return known[(stride * torch.arange(levels, dtype=torch.float64)).round().long()]


def cosine_levels(M: int, C_1: float, C_2: float, dtype: torch.dtype) -> torch.Tensor:
    """The sigmas [M+1] of iDDPM's cosine schedule, decreasing to 0; alpha-bar is float32.

    That is as published; in float64 levels would differ by up to 5e-4.
    """
    # one by one: vectorised sines differ in their last bits
    steps = torch.arange(M + 1, device="cpu")
    alpha_bar = [(0.5 * pi * j / M / (C_2 + 1)).sin() ** 2 for j in steps]
    levels = torch.zeros(M + 1, dtype=dtype, device="cpu")
    for j in range(M, 0, -1):
        ratio = (alpha_bar[j - 1] / alpha_bar[j]).clamp(min=C_1)
        levels[j - 1] = ((levels[j] ** 2 + 1) / ratio - 1).sqrt()
    return levels


GRIDS: dict[str, Callable[[int, float, float], torch.Tensor]] = {
    "vp": vp_grid,
    "ve": ve_grid,
    "iddpm": iddpm_grid,
}
