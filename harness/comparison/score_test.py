"""Score test and score interval (Tango 1998) of a mean outcome of wins, ties and losses."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.optimize import brentq

_TINY = 1e-12


@dataclass(frozen=True)
class ScoreTest:
    """The score test of Tango (1998) for outcomes of three values.

    `wins` and `losses` are their shares, in [0, 1]; `spread` is the variance of the mean outcome
    over that of one outcome: one over their number where they are independent.

    The variance of an outcome if the true mean were r is that of the most likely chances of win,
    tie and loss with that mean. So it is known where nothing was seen to vary: the rarest event
    that a bound allows for is part of it. Without ties this is the score test of Wilson (1927), and
    at r = 1/2 that of McNemar (1947).
    """

    wins: float
    losses: float
    spread: float

    @property
    def value(self) -> float:
        """The mean outcome, in [0, 1]."""
        return 0.5 + (self.wins - self.losses) / 2

    def variance(self, rate: float) -> float:
        """Variance of one outcome under a true mean `rate`, in (0, 1)."""
        gap = abs(2 * rate - 1)
        more, less = (self.wins, self.losses) if rate >= 0.5 else (self.losses, self.wins)
        linear = more + less - gap * (2 + less - more)  # 2 y^2 - linear y - less gap (1 - gap) = 0
        root = math.sqrt(max(0.0, linear**2 + 8 * less * gap * (1 - gap)))
        rarer = max(0.0, linear + root) / 4
        return max(0.0, 2 * rarer + gap - gap**2) / 4

    def distance(self, rate: float) -> float:
        """Distance of the mean outcome from `rate`, in standard errors under that rate."""
        away = abs(self.value - rate)
        error = math.sqrt(self.variance(rate) * self.spread)
        return 0.0 if away < _TINY else away / error if error else math.inf

    def interval(self, most: float) -> tuple[float, float]:
        """The score interval: the rates at most `most` standard errors away."""
        turned = ScoreTest(self.losses, self.wins, self.spread)
        return 1 - turned._upper(most), self._upper(most)

    def _upper(self, most: float) -> float:
        if self.value > 1 - _TINY:
            return 1.0

        def beyond(rate: float) -> float:
            return rate - self.value - most * math.sqrt(self.variance(rate) * self.spread)

        # Just above the value: where all are alike, `beyond` is 0 there, then dips below.
        start = self.value + _TINY * (1 - self.value)
        return float(brentq(beyond, start, 1.0, xtol=1e-14))


def coin_flips(rate: float, width: float, most: float) -> float:
    """How many coin flips of mean `rate` have an interval as wide as `width`, in (0, 1).

    Wilson's interval at `most` standard errors.
    """
    square, odds = width**2, rate * (1 - rate)
    half = 2 * odds - square  # (1 - square) u^2 + 2 half u - square = 0, with u = most^2 / n
    root = math.sqrt(half**2 + square * (1 - square))
    return most**2 * (half + root) / square
