"""Multiple comparisons with the best: which of several runs are told apart from a better one.

Marks in a table ("best", "not told apart from it") are a statement on all runs at once, so that the
chance to be wrong must be that of the whole table. Here it is: of runs that are equal, or equally
good and better than the others, the chance that any is called worse is at most 5 %. That is what
Hansen, Lunde and Nason (2011) ask of their model confidence set, and stronger than Hsu's (1984)
comparisons with the best, which keep one given best run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from harness.comparison import statistics
from harness.comparison.statistics import LEVEL, Codes, Floats, Mask

LEAST_SEEDS = 5
"""With noise that all prompts share: fewer seeds, or prompts, tell no run apart."""

_DRAWS = 1999
_AT_ONCE = 100
_MOST = 1 << 22  # signs drawn at once
_LEAST = 6  # units: of fewer, two of the 2^5 sign flips are as far out, which is more than 5 %
_SAME = 1e-12  # what is lost of 1 when equal gaps are summed


@dataclass(frozen=True)
class _Pairs:
    """Pairs of runs (i, j): whether i is `ahead`, and p-values adjusted for all pairs in a mask."""

    names: list[tuple[int, int]]
    ahead: Mask
    adjusted: Callable[[Mask], Floats]


def told_worse(scores: Sequence[Floats], prompts: Codes, seeds: Codes, shared: bool) -> Mask:
    """Whether each of k runs is told apart from a better one of them: a mask [k].

    `scores` are k arrays [n] over the same images, higher is better, NaN where there is none;
    `prompts` and `seeds` [n] are codes >= 0. `shared` noise makes seeds a sample, too.

    All pairs of runs are tested at once and worse runs leave, as long as any does (Romano and Wolf
    2005): the largest studentised mean of paired prompt differences, over all pairs of the runs
    that are left, against its distribution when the signs of whole prompts are flipped (1,999
    draws). Where prompts share their noise, two-way t-tests by Bonferroni take the place of flips,
    and none is told apart with fewer than `LEAST_SEEDS` seeds (or prompts).

    Measured, chance to call any of equal runs worse, of 3, 8 and 17 runs and 10 to 200 prompts:
    3.0 to 6.0 % of normal and skewed scores, 0.2 to 5.5 % of binary ones, 4.5 to 7.2 % where runs
    vary up to ten times as much as others (each to about 1 %, 4.4 % on average). Intervals of each
    run's difference from the best, 95 % each, err in 11, 50 and 87 %.
    """
    pairs = list(combinations(range(len(scores)), 2))
    if len(scores) < 2:
        return np.zeros(len(scores), bool)
    if shared and statistics.distinct(prompts) > 1:
        found = _crossed(pairs, scores, prompts, seeds)
    else:
        found = _flipped(pairs, scores, seeds if shared else prompts)
    return _step_down(found, len(scores))


def _step_down(pairs: _Pairs, runs: int) -> Mask:
    """The runs that lose to another one, found in rounds among those that are left."""
    worse = np.zeros(runs, bool)
    first, second = np.array(pairs.names, np.intp).reshape(-1, 2).T
    losers = np.where(pairs.ahead, second, first)
    while True:
        left = ~(worse[first] | worse[second])
        lost = losers[left & (pairs.adjusted(left) <= 1 - LEVEL)]
        if not len(lost):
            return worse
        worse[lost] = True


def _flipped(names: list[tuple[int, int]], scores: Sequence[Floats], units: Codes) -> _Pairs:
    """Max-t by sign flips of units, prompts or seeds; pairs with few of them are not in it."""
    units, _ = statistics.dense(units)
    gaps, held = zip(*(_by_unit(scores[i] - scores[j], units) for i, j in names), strict=True)
    gap, n = np.stack(gaps, 1), np.sum(held, 1)
    usable = n >= _LEAST
    n = np.maximum(n, 2)
    square = (gap**2).sum(0) / n
    mean = gap.sum(0) / n
    observed = _distance(mean, square, n)
    random = np.random.default_rng(0)
    drawn = []
    step = min(_AT_ONCE, max(1, _MOST // len(gap)))
    for at in range(0, _DRAWS, step):
        shape = min(step, _DRAWS - at), len(gap)
        drawn.append(_distance((2.0 * random.integers(0, 2, shape) - 1) @ gap / n, square, n))
    flips = np.concatenate(drawn)

    def adjusted(left: Mask) -> Floats:
        known = left & usable
        if not known.any():
            return np.ones(len(names))
        most = np.sort(flips[:, known].max(1))
        beyond = _DRAWS - np.searchsorted(most, observed * (1 - 1e-9))
        return np.where(known, (1 + beyond) / (1 + _DRAWS), 1.0)

    return _Pairs(names, mean > 0, adjusted)


def _by_unit(gap: Floats, units: Codes) -> tuple[Floats, Mask]:
    """Mean gap of each unit, 0 where it has none, and whether it has one."""
    known = ~np.isnan(gap)
    count = np.bincount(units[known], minlength=int(units.max(initial=-1)) + 1)
    total = np.bincount(units[known], gap[known], len(count))
    return total / np.maximum(count, 1), count > 0


def _distance(mean: Floats, square: Floats, n: Codes) -> Floats:
    """How far Student's t of these means and mean squares over n lies from 0, as a normal deviate
    (Wallace 1959), so that pairs of unlike n compare."""
    share = np.divide(mean**2, square, out=np.zeros(np.shape(mean)), where=square > 0)
    degrees = n - 1
    deviate = np.sqrt(-degrees * np.log1p(-np.minimum(share, 1 - _SAME)))
    return np.asarray((8 * degrees + 1) / (8 * degrees + 3) * deviate)


def _crossed(
    names: list[tuple[int, int]], scores: Sequence[Floats], prompts: Codes, seeds: Codes
) -> _Pairs:
    """Two-way t-tests of all pairs, by Bonferroni."""
    tests = []
    for i, j in names:
        gap = scores[i] - scores[j]
        known = ~np.isnan(gap)
        tests.append(_two_way(gap[known], prompts[known], seeds[known]))
    means, p_values = np.array(tests, np.float64).reshape(-1, 2).T

    def adjusted(left: Mask) -> Floats:
        return np.where(left, np.minimum(1.0, p_values * left.sum()), 1.0)

    return _Pairs(names, means > 0, adjusted)


def _two_way(gap: Floats, prompts: Codes, seeds: Codes) -> tuple[float, float]:
    """Mean gap and p-value of "it is 0" over prompts crossed with seeds, on the safe side.

    Its variance is that of prompt means plus that of seed means, which counts the rest twice, and
    its degrees of freedom those of the smaller number: far out in the tails Satterthwaite's are too
    many, where the seeds' variance is found small by chance.
    """
    means = (
        [statistics.prompt_means(gap, codes)[0] for codes in (prompts, seeds)] if len(gap) else []
    )
    least = min(map(len, means), default=0)
    if least < LEAST_SEEDS:
        return 0.0, 1.0
    error = math.sqrt(sum(part.var(ddof=1) / len(part) for part in means))
    value = float(means[0].mean())
    if not error:
        return value, 0.0 if value else 1.0
    return value, float(2 * stats.t.sf(abs(value) / error, least - 1))
