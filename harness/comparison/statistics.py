"""Winning rates and mean differences with intervals that hold for prompts, not only for images.

Images of one prompt are alike, so prompts, not pairs, are the independent observations here: values
are averaged within a prompt first, and every interval and p-value works on these prompt means.
Vectorised and, where it draws, seeded.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.comparison.score_test import ScoreTest, coin_flips
from harness.core.outcome import balance
from harness.store.results import Estimate, WinningRate

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]

LEVEL = 0.95
_PSEUDO_PROMPTS = 0.25
_EXACT_LIMIT = 20_000
_DRAWS = 10_000


def dense(codes: Codes) -> tuple[Codes, Codes]:
    """Renumber codes [n] >= 0 from 0 without gaps, in order; and the count of each."""
    counts = np.bincount(codes)
    held = counts > 0
    return (np.cumsum(held) - 1)[codes], counts[held]


def distinct(codes: Codes) -> int:
    """The number of distinct values among codes [n] >= 0."""
    return int(np.count_nonzero(np.bincount(codes)))


def prompt_means(values: Floats, prompts: Codes) -> tuple[Floats, Codes]:
    """Mean of `values` [n] within each prompt, and how many there are: both [distinct prompts].

    `prompts` [n] are codes >= 0; the result is ordered by code.
    """
    codes, counts = dense(prompts)
    return np.bincount(codes, weights=values) / counts, counts


def winning_rate(outcomes: Floats, prompts: Codes) -> WinningRate:
    """Mean over prompts of the within-prompt share of wins, in [0, 1], with its interval.

    `outcomes` [n] are as of `outcome`, or between for means of several; `prompts` [n] codes >= 0.

    The interval is the score interval of Tango (1998) for outcomes of three values (`ScoreTest`),
    with two changes for clusters. Its variance is multiplied by the design effect as in Rao and
    Scott (1992), and its normal quantile is Student's, of as many degrees of freedom as there are
    prompts, less one.

    Tests measure the coverage: 93 to 97 % in general, more only where discreteness forces it (one
    seed; rates near 1 of few prompts) and where fewer than about five prompts differ: there the
    interval must allow for what has not been seen, and covers 96 to 100 %. Two cases are below.
    A rate so near to 1 that one loss is to be expected: 92 %, as of Wilson's interval for coins. A
    skewed balance, a few prompts won at all of several seeds against many lost at one: 88 % of 20
    prompts, 92 % of 50; the sign flips, which take both directions for alike, err as often. So a
    verdict wants the interval and the p-value.

    Null without prompts; without interval for one prompt.
    """
    if not len(outcomes):
        return WinningRate(None, None, None, 0, "no pairs")
    test, m = score(outcomes, prompts)
    if m == 1:
        return WinningRate(test.value, None, None, 1, "one prompt: no interval")
    return scored(test, m, m - 1)


def score(outcomes: Floats, prompts: Codes) -> tuple[ScoreTest, int]:
    """The score test of the mean over prompts of their mean outcomes, and how many prompts.

    Its spread is one over the number of prompts, times the share of the outcomes' variance that
    lies between prompts: 1 at one seed or where seeds always agree, one over the number of seeds
    where they are independent. That share is a guess where few outcomes differ, so a quarter of a
    pseudo-prompt is added to both variances, half of it won and half lost at all seeds: 1 if
    nothing differs, and of little weight soon. An outcome between two of the three values counts as
    a mixture of them.
    """
    shares, _ = prompt_means(outcomes, prompts)
    wins, _ = prompt_means(np.maximum(balance(outcomes), 0), prompts)
    m, rate, win = len(shares), float(shares.mean()), float(wins.mean())
    loss = win - 2 * rate + 1
    total = max(0.0, (win + loss) / 4 - (rate - 0.5) ** 2)
    between = float(((shares - rate) ** 2).mean())
    pseudo = _PSEUDO_PROMPTS / m * (rate**2 + (1 - rate) ** 2) / 2
    return ScoreTest(win, loss, (between + pseudo) / (total + pseudo) / m), m


def scored(test: ScoreTest, prompts: int, degrees: float) -> WinningRate:
    """The test's mean with its score interval by Student's t of these degrees of freedom."""
    most = float(stats.t.ppf((1 + LEVEL) / 2, degrees))
    low, high = test.interval(most)
    flips = coin_flips(test.value, high - low, most)
    return WinningRate(test.value, low, high, prompts, effective=flips)


def sign_flip_p(outcomes: Floats, prompts: Codes, seed: int = 0) -> tuple[float | None, str]:
    """Two-sided sign-flip p-value of "neither side is better", and its method.

    Under the null a prompt's share of wins is as likely p_i as 1 - p_i. The p-value is the share of
    all sign flips of p_i - 1/2 whose mean is at least as far from 0 as the one observed: the exact
    sign test for one seed without ties. The exact distribution is a convolution of binomials over
    the distinct |p_i - 1/2|; where that is too long (many prompts with unequal seed counts), 10,000
    flips are drawn from `seed` and counted with the observed one, (1 + k) / (1 + 10,000).
    """
    if not len(outcomes):
        return None, "no pairs"
    codes, counts = dense(prompts)
    excess = np.rint(np.bincount(codes, weights=balance(outcomes))).astype(np.int64)
    scale = math.lcm(*(int(count) for count in np.unique(counts)))
    if scale > _EXACT_LIMIT:  # beyond int64 for many unequal counts
        sizes, copies = np.unique(np.abs(excess / counts), return_counts=True)
        observed = abs(float((excess / counts).sum()))
        return _drawn_p(sizes, copies, observed, seed), "10,000 draws"
    lattice = excess * (scale // counts)
    sizes, copies = np.unique(np.abs(lattice[lattice != 0]), return_counts=True)
    observed = abs(int(lattice.sum()))
    if not len(sizes):
        return 1.0, "exact"
    step = int(np.gcd.reduce(sizes))
    if int((sizes * copies).sum()) // step > _EXACT_LIMIT:
        return _drawn_p(sizes.astype(float), copies, observed, seed), "10,000 draws"
    return _exact_p(sizes // step, copies, observed // step), "exact"


def _exact_p(sizes: Codes, copies: Codes, observed: int) -> float:
    flipped = np.ones(1)
    for size, count in zip(sizes, copies, strict=True):
        ways = np.zeros(size * count + 1)
        ways[::size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        flipped = np.convolve(flipped, ways)
    total = len(flipped) - 1
    extreme = np.abs(total - 2 * np.arange(total + 1)) >= observed
    return min(1.0, float(flipped[extreme].sum()))


def _drawn_p(sizes: Floats, copies: Codes, observed: float, seed: int) -> float:
    random = np.random.default_rng(seed)
    kept = random.binomial(copies, 0.5, (_DRAWS, len(copies)))
    sums = np.abs((sizes * (2 * kept - copies)).sum(1))
    return float((1 + (sums >= observed - 1e-9 * max(1.0, observed)).sum()) / (1 + _DRAWS))


def mean(values: Floats, prompts: Codes) -> Estimate:
    """Mean over prompts of the within-prompt mean of `values` [n], Student's t over prompts.

    The interval treats prompts as a sample: prompts - 1 degrees of freedom. Null without values;
    without interval for one prompt.
    """
    if not len(values):
        return Estimate(None, None, None, 0, "no scores")
    means, _ = prompt_means(values, prompts)
    m, centre = len(means), float(means.mean())
    if m == 1:
        return Estimate(centre, None, None, 1, "one prompt: no interval")
    half = float(stats.t.ppf((1 + LEVEL) / 2, m - 1) * means.std(ddof=1) / math.sqrt(m))
    return Estimate(centre, centre - half, centre + half, m)
