"""Effect sizes beside the winning rate, which under common noise does not measure them: a tiny
gain everywhere wins every pair. They are the mean difference in seed deviations, the correlation of
a pair's scores, and the winning rate against the baseline at another seed.

Intervals are Student's t on jackknives over prompts (Miller 1974), vectorised.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import stats

from harness.comparison.statistics import LEVEL, Codes, Floats, Mask, dense, winning_rate
from harness.core.outcome import TIE, outcome
from harness.store.results import Estimate


def _sums(values: Floats, codes: Codes, count: int) -> Floats:
    return np.bincount(codes, values, minlength=count).astype(np.float64)


def standardised_difference(a: Floats, b: Floats, prompts: Codes) -> Estimate:
    """Mean over prompts of a - b, in units of the baseline's within-prompt seed deviation.

    `a`, `b`, `prompts` [n]. The deviation is pooled: the root of the squares about the prompts'
    means over their degrees of freedom. Null with one seed a prompt, or where seeds do not matter.
    """
    if not len(a):
        return Estimate(None, None, None, 0, "no scores")
    codes, counts = dense(prompts)
    m, freedom = len(counts), float((counts - 1).sum())
    if not freedom:
        return Estimate(None, None, None, m, "one seed a prompt: no deviation over seeds")
    means = _sums(b, codes, m) / counts
    squares = _sums((b - means[codes]) ** 2, codes, m)
    if squares.sum() <= 1e-24 * (b**2).sum():
        return Estimate(None, None, None, m, "the baseline's scores do not depend on the seed")
    gaps = _sums(a - b, codes, m) / counts

    def value(gap: Floats, size: Floats, square: Floats, free: Floats) -> Floats:
        return gap / size / np.sqrt(square / free)

    return _jackknife(value, [gaps, np.ones(m), squares, (counts - 1).astype(np.float64)])


def pair_correlation(a: Floats, b: Floats, prompts: Codes) -> Estimate:
    """Pearson's correlation of the two scores of a pair over all pairs, in [-1, 1].

    It holds what prompts have in common and what noise has: the more, the more pairing is worth.
    The interval is a jackknife over prompts of Fisher's z. Null where a side's scores are all
    alike.
    """
    if not len(a):
        return Estimate(None, None, None, 0, "no scores")
    codes, counts = dense(prompts)
    m = len(counts)
    x, y = a - a.mean(), b - b.mean()
    least = 1e-12 * max(np.abs(a).max(), np.abs(b).max(), 1e-300)
    if min(np.abs(x).max(), np.abs(y).max()) <= least:
        return Estimate(None, None, None, m, "all scores of a side are alike")

    def fisher_z(n: Floats, x: Floats, y: Floats, xx: Floats, yy: Floats, xy: Floats) -> Floats:
        spread = np.sqrt((xx - x * x / n) * (yy - y * y / n))
        return np.arctanh(np.clip((xy - x * y / n) / spread, -1 + 1e-15, 1 - 1e-15))

    sums = [_sums(x, codes, m), _sums(y, codes, m)]
    sums += [_sums(one * other, codes, m) for one, other in ((x, x), (y, y), (x, y))]
    return _jackknife(fisher_z, [counts.astype(np.float64), *sums]).through(math.tanh)


def unpaired_rate(
    a: Floats, b: Floats, a_failed: Mask, b_failed: Mask, sign: float, prompts: Codes
) -> Estimate:
    """Winning rate over the baseline at another seed of the same prompt, in [0, 1].

    Mean over prompts of the share won of all pairs of two different seeds: the winning rate without
    common noise. `a` and `b` [n] belong to the same items, with `sign` -1 where lower is better;
    failed images (masks) lose. Items without a score on a side whose image did not fail are left
    out, and prompts with one seed; null without others.
    """
    x = np.where(a_failed, -np.inf, sign * a)
    y = np.where(b_failed, -np.inf, sign * b)
    scored = ~(np.isnan(x) | np.isnan(y))
    x, y, prompts = x[scored], y[scored], prompts[scored]
    kept = np.bincount(prompts)[prompts] > 1
    if not kept.any():
        return Estimate(None, None, None, 0, "one seed a prompt: no pairs of two seeds")
    x, y = x[kept], y[kept]
    codes, counts = dense(prompts[kept])
    wins = _beaten(x, y, codes)
    shares = _sums(wins - outcome(_gap(x, y)), codes, len(counts)) / (counts * (counts - 1))
    rate = winning_rate(shares, np.arange(len(shares)))
    return Estimate(rate.value, rate.low, rate.high, rate.n, rate.reason)


def _gap(x: Floats, y: Floats) -> Floats:
    """x - y, and 0 where both images failed."""
    with np.errstate(invalid="ignore"):
        return np.where(x == y, 0.0, x - y)


_ROWS = 1 << 20  # scores ranked at a time


def _beaten(x: Floats, y: Floats, codes: Codes) -> Floats:
    """Number of its prompt's y that each x beats, ties counted half; some prompts at a time."""
    order = np.argsort(codes, kind="stable")
    placed = codes[order]
    cuts = np.unique(np.searchsorted(placed, placed[::_ROWS]))  # where a prompt begins
    wins = np.empty(len(x))
    for rows in np.split(order, cuts[1:]):
        wins[rows] = _beaten_at_once(x[rows], y[rows], codes[rows])
    return wins


def _beaten_at_once(x: Floats, y: Floats, codes: Codes) -> Floats:
    """By binary search among all prompts' ranks."""
    _, ranks = np.unique(np.concatenate([x, y]), return_inverse=True)
    start = codes * len(ranks)
    mine, theirs = start + ranks[: len(x)], np.sort(start + ranks[len(x) :])
    below = np.searchsorted(theirs, mine)
    tied = np.searchsorted(theirs, mine, "right") - below
    return below - np.searchsorted(theirs, start) + TIE * tied


def _jackknife(value: Callable[..., Floats], sums: list[Floats]) -> Estimate:
    """A function of sums over prompts with its delete-one-prompt jackknife interval."""
    m = len(sums[0])
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = float(value(*(part.sum() for part in sums)))
        without = value(*(part.sum() - part for part in sums))
    if m == 1:
        return Estimate(whole, None, None, 1, "one prompt: no interval")
    if not np.isfinite(without).all():
        return Estimate(whole, None, None, m, "rests on a single prompt: no interval")
    error = math.sqrt((m - 1) / m * float(((without - without.mean()) ** 2).sum()))
    half = float(stats.t.ppf((1 + LEVEL) / 2, m - 1)) * error
    return Estimate(whole, whole - half, whole + half, m)
