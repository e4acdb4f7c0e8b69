"""Verdicts from winning rates and p-values, and Holm's correction for several of them."""

from __future__ import annotations

from collections.abc import Sequence

from harness.comparison.statistics import LEVEL
from harness.store.results import Estimate


def verdict(
    rate: Estimate, p_value: float | None, margin: float | None = None, level: float = 1 - LEVEL
) -> str:
    """The verdict wins, loses, equivalent or undecided; undefined without an interval.

    equivalent: the interval lies within `margin` of one half: whatever the difference is, it is too
    small to matter. Else wins or loses where the interval leaves out one half and p < `level`. Both
    are required, since either alone is anticonservative at times: the interval where few pairs
    differ, the p-value where seeds of a prompt disagree in the two directions unalike.
    """
    if rate.low is None or rate.high is None or p_value is None:
        return "undefined"
    if margin is not None and 0.5 - margin < rate.low and rate.high < 0.5 + margin:
        return "equivalent"
    if p_value >= level:
        return "undecided"
    return "wins" if rate.low > 0.5 else "loses" if rate.high < 0.5 else "undecided"


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) adjusted p-values, which control the family-wise error rate.

    A null takes no part and stays null.
    """
    known = sorted((p, at) for at, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, at) in enumerate(known):
        least = max(least, min(1.0, (len(known) - rank) * p))
        adjusted[at] = least
    return adjusted
