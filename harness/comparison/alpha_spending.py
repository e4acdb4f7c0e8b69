"""Alpha spending over looks at a growing sample (Lan and DeMets 1983), O'Brien-Fleming-like.

At a share t of the planned sample the chance of a false verdict so far may be
`4 (1 - Phi(z / sqrt(t)))`, with z the normal quantile of 1 - 0.05 / 4: next to nothing early, and
the whole 5 % at the end. How many looks there are, and when, need not be planned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from harness.comparison.statistics import LEVEL, Floats

_POINTS = 401
_LEAST = 1e-12
_FAR = 20.0


def spent(share: float) -> float:
    """The chance of a false verdict that may be used up at a share in (0, 1] of the sample."""
    z = float(stats.norm.isf((1 - LEVEL) / 4))
    return float(4 * stats.norm.sf(z / math.sqrt(share)))


def level_at(shares: Sequence[float]) -> float:
    """The level of the last of some looks, at increasing shares of the planned sample.

    The estimates are taken for sums of independent parts, as of more and more prompts. More seeds
    of the same prompts are more alike, and err less often. A look beyond the plan, after the one
    that completed it, has nothing left: 0.
    """
    reach, mass = np.zeros(1), np.ones(1)  # sums at which no bound was crossed, and their chances
    used, last, bound = 0.0, 0.0, math.inf
    for share in (min(1.0, share) for share in shares):
        bound, left = math.inf, spent(share) - used
        if left < _LEAST or share <= last:
            continue
        deviation = math.sqrt(share - last)
        bound = _bound(reach, mass, deviation, left)
        used, last = used + left, share
        grid = np.linspace(-bound, bound, _POINTS)
        density = (mass * stats.norm.pdf(grid[:, None], reach, deviation)).sum(1)
        reach, mass = grid, density * (grid[1] - grid[0])
        mass[[0, -1]] /= 2  # the trapezoidal rule
    return float(2 * stats.norm.sf(bound / math.sqrt(last))) if last else 0.0


def _bound(reach: Floats, mass: Floats, deviation: float, chance: float) -> float:
    """How far from 0 a sum is with this chance, after a step from where it may be."""

    def excess(bound: float) -> float:
        beyond = stats.norm.sf([bound - reach, bound + reach], scale=deviation).sum(0)
        return float((mass * beyond).sum()) - chance

    return float(brentq(excess, 0.0, _FAR, xtol=1e-10))
