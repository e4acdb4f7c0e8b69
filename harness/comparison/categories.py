"""Categories of prompts: do they differ, what if they are a sample, what if one is left out.

A prompt's share of wins is the observation: `shares` [m] in [0, 1] with the `categories` [m] of
their prompts, codes >= 0 in any order.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy import special, stats

from harness.comparison.statistics import (
    LEVEL,
    Codes,
    Floats,
    dense,
    distinct,
    mean,
    prompt_means,
    score,
    scored,
)
from harness.core.errors import HarnessError, unknown
from harness.store.results import Estimate, WinningRate

FEWEST = 5
"""The fewest categories that give an interval over categories."""

METHOD = "permutation of prompts, Cochran's Q"

_DRAWS = 10_000
_CHUNK = 2_000_000  # values permuted at once
_MANY = 20_000  # prompts from which counts of equal shares are drawn: permuting takes seconds
_SPREADS = 0.5 * np.linspace(0, 1, 201) ** 2
_PSEUDO_PROMPTS = 0.25


def by_prompt(outcomes: Floats, prompts: Codes, categories: Codes) -> tuple[Floats, Codes]:
    """The shares of wins [m] of the prompts that have a category, and these categories' codes.

    `outcomes`, `prompts` and `categories` are [n]; a category of -1 is none.
    """
    named = categories >= 0
    if not named.any():
        return np.zeros(0), np.zeros(0, np.int64)
    shares, _ = prompt_means(outcomes[named], prompts[named])
    codes, counts = dense(prompts[named])
    places = np.zeros(len(counts), np.int64)
    places[codes] = categories[named]
    return shares, places


Sums = tuple[Floats, Floats]
"""Sums [..., G] of the shares of each category's prompts, and of their squares."""


def _summed(shares: Floats, starts: Codes) -> Sums:
    """Of shares [..., m] whose categories lie one after the other."""
    return np.add.reduceat(shares, starts, -1), np.add.reduceat(shares**2, starts, -1)


def _squares(sums: Sums, sizes: Codes, pooled: int) -> tuple[Floats, Floats]:
    """Means [..., G] of categories, and their squared errors.

    A squared error is the variance over a category's prompts, over their number. So many degrees
    of freedom of the variance that all categories have in common are `pooled` with it: that of a
    few prompts is no more than a guess, and none where they tie.
    """
    means = sums[0] / sizes
    squares = np.maximum(sums[1] - sizes * means**2, 0)
    common = squares.sum(-1, keepdims=True) / (sizes.sum() - len(sizes))
    return means, (squares + pooled * common) / (sizes - 1 + pooled) / sizes


def _cochran(sums: Sums, sizes: Codes) -> Floats:
    """Cochran's Q [...]."""
    means, errors = _squares(sums, sizes, pooled=1)
    weights = 1 / np.maximum(errors, 1e-18)
    centre = (weights * means).sum(-1, keepdims=True) / weights.sum(-1, keepdims=True)
    q: Floats = (weights * (means - centre) ** 2).sum(-1)
    return q


def _permuted(shares: Floats, sizes: Codes, random: np.random.Generator) -> Iterator[Sums]:
    """The sums [D, G] of all draws, some at a time, that give each category other prompts."""
    rows = np.sort(shares)  # so that the draws do not depend on the order of the prompts
    if len(rows) >= _MANY:
        yield _drawn_by_counts(rows, sizes, random)
        return
    starts, left = np.cumsum(sizes) - sizes, _DRAWS
    while left:
        count = min(left, max(1, _CHUNK // len(rows)))
        yield _summed(random.permuted(np.tile(rows, (count, 1)), axis=1), starts)
        left -= count


def _drawn_by_counts(shares: Floats, sizes: Codes, random: np.random.Generator) -> Sums:
    """The sums [D, G] of all draws: of equal shares only how many a category gets is drawn."""
    values, counts = np.unique(shares, return_counts=True)
    left = np.tile(counts, (_DRAWS, 1))
    sums = np.zeros((2, _DRAWS, len(sizes)))
    for place, size in enumerate(sizes):
        wanted, others = np.full(_DRAWS, size), left.sum(1)
        for at, value in enumerate(values):
            others -= left[:, at]
            taken = random.hypergeometric(left[:, at], others, wanted)
            left[:, at] -= taken
            wanted -= taken
            sums[:, :, place] += taken * np.array([[value], [value**2]])
    return sums[0], sums[1]


def lacking(count: int, unnamed: bool, fewest: int = FEWEST) -> str | None:
    """Why there is no interval over `count` categories; None where there is one.

    `unnamed`: whether prompts without a category are among the others.
    """
    if unnamed and count:
        return "some prompts have no category"
    if count < fewest:
        return f"an interval over categories takes {fewest} or more, and there {_are(count)}"
    return None


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count or 'none'}"


def check_population(
    population: str, categories: Collection[str], noise_key: str, among: Sequence[str]
) -> None:
    """Raise HarnessError unless results can speak of this `population`, one of `among`.

    `categories` are those of the prompts, empty where one has none.
    """
    if population not in among:
        raise unknown("population", population, among)
    if population != "categories":
        return
    named = {name for name in categories if name}
    if noise_key == "seed":
        raise HarnessError(
            "population: categories needs noise of each prompt's own, and here all prompts of a "
            "seed share it: take noise_key=prompt, or leave population out"
        )
    if reason := lacking(len(named), "" in categories):
        raise HarnessError(
            f"population: categories is not possible here: {reason}. Take more prompts, or leave "
            "population out: the result then speaks of these categories, and prompts like these"
        )


def heterogeneity_p(shares: Floats, categories: Codes, seed: int = 0) -> tuple[float | None, str]:
    """P-value of "all categories have one winning rate", and its method.

    The statistic is Cochran's Q of the categories' means, with the variances that their prompts
    have. Its distribution is that of 10,000 permutations of the prompts over the categories, drawn
    from `seed`, of which the observed one is one more: exact where prompts are exchangeable, and,
    since each mean is weighed by its own variance, right in large samples where the categories'
    variances differ (Chung and Romano 2013). By the chi-squared distribution of Q up to 30 % would
    be false with few prompts a category. Simulated, 2 to 6 % are, up to 13 % with four prompts a
    category of which one ties in 20 % and another in 95 %. Null with fewer than two categories.
    """
    if distinct(categories) < 2:
        return None, "fewer than two categories"
    if len(shares) == distinct(categories):
        return None, "one prompt a category"
    if np.ptp(shares) < 1e-12:
        return 1.0, METHOD
    order = np.argsort(categories, kind="stable")
    _, sizes = dense(categories)
    observed = _cochran(_summed(shares[order], np.cumsum(sizes) - sizes), sizes) - 1e-9
    draws = _permuted(shares, sizes, np.random.default_rng(seed))
    extreme = sum(int((_cochran(drawn, sizes) >= observed).sum()) for drawn in draws)
    return (1 + extreme) / (1 + _DRAWS), METHOD


def jackknife_variance(values: Floats, categories: Codes) -> float:
    """Variance of the mean of `values` [m] where categories are the sample, by leaving one out.

    With as many values in each it is that of the mean of the categories' means; with unequal
    numbers it is the more careful of the usual ones (MacKinnon, Nielsen and Webb 2023, CV3).
    """
    codes, sizes = dense(categories)
    count = len(sizes)
    without = (values.sum() - np.bincount(codes, values)) / (len(values) - sizes)
    return float((count - 1) / count * ((without - values.mean()) ** 2).sum())


def clustered_rate(
    outcomes: Floats, prompts: Codes, categories: Codes, fewest: int = FEWEST
) -> tuple[WinningRate, float | None, str]:
    """The winning rate as a statement on categories like these; with p-value and its method.

    As `statistics.winning_rate`, mean and score interval alike, but categories are the independent
    observations: the variance is that of the jackknife over them, and Student's t has one degree of
    freedom less than there are categories, which `n` counts. Simulated with prompts correlated
    inside 5 to 11 categories, 0 to 7 % of verdicts are false, the fewest where most pairs tie.

    Without interval for fewer than `fewest` categories, and where prompts have none.
    """
    if not len(outcomes):
        return WinningRate(None, None, None, 0, "no pairs"), None, "no pairs"
    test, _ = score(outcomes, prompts)
    shares, places = by_prompt(outcomes, prompts, categories)
    if reason := lacking(count := distinct(places), bool((categories < 0).any()), fewest):
        return WinningRate(test.value, None, None, count, reason), None, reason
    rate, one = test.value, test.variance(test.value)
    pseudo = _PSEUDO_PROMPTS / len(shares) * (rate**2 + (1 - rate) ** 2) / 2
    between = jackknife_variance(shares, places) * count
    test = replace(test, spread=(between + pseudo) / (one + pseudo) / count)
    p_value = float(2 * stats.t.sf(test.distance(0.5), count - 1))
    return scored(test, count, count - 1), p_value, "score test over categories"


def clustered_mean(values: Floats, prompts: Codes, categories: Codes) -> Estimate:
    """As `statistics.mean`, where categories are the sample: Student's t over categories."""
    means, places = by_prompt(values, prompts, categories)
    if distinct(places) < 2 or (categories < 0).any():
        return replace(mean(values, prompts), low=None, high=None, reason="fewer than 2 categories")
    count = distinct(places)
    error = math.sqrt(jackknife_variance(means, places))
    half, centre = float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * error, float(means.mean())
    return Estimate(centre, centre - half, centre + half, count)


def shrunken_rates(shares: Floats, categories: Codes) -> list[Estimate]:
    """The winning rate of each category, in order of the codes, drawn towards their common mean.

    Empirical Bayes: categories' rates are normal around a mean, and the means over prompts normal
    around the rates. How far the rates spread is not plugged in, which makes intervals too narrow
    with few categories, but integrated out, with a flat prior on the standard deviation up to one
    half (Deely and Lindley 1981; Gelman 2006). `n` counts the category's prompts.

    Null with fewer than three categories, and where all prompts, or all of each category, have the
    same share.
    """
    _, sizes = dense(categories) if len(categories) else (categories, categories)
    means = errors = np.zeros(0)
    reason = None
    if len(sizes) < 3:
        reason = "fewer than three categories"
    elif np.ptp(shares) < 1e-12:
        reason = "all prompts have the same outcomes"
    elif len(shares) == len(sizes):
        reason = "one prompt a category"
    else:
        starts, order = np.cumsum(sizes) - sizes, np.argsort(categories, kind="stable")
        means, errors = _squares(_summed(shares[order], starts), sizes, pooled=4)
        if errors.max() < 1e-12:  # its root is no error to go by
            reason = "the prompts of each category have the same outcomes"
    if reason:
        return [Estimate(None, None, None, int(size), reason) for size in sizes]
    weights, centres, deviations = _posterior(means, errors)
    values = weights @ centres
    ends = [_quantile(weights, centres, deviations, q) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]
    rows = zip(values, *ends, sizes, strict=True)
    return [
        Estimate(float(value), float(low), float(high), int(n)).within(0, 1)
        for value, low, high, n in rows
    ]


def _posterior(means: Floats, errors: Floats) -> tuple[Floats, Floats, Floats]:
    """For each spread of the rates: its weight [T], the rates' means and deviations [T, G]."""
    precision = 1 / (errors + _SPREADS[:, None] ** 2)
    total = precision.sum(1)
    centre = precision @ means / total
    misfit = (precision * (means - centre[:, None]) ** 2).sum(1)
    log = (np.log(precision).sum(1) - np.log(total) - misfit) / 2
    weights = np.exp(log - log.max()) * np.gradient(_SPREADS)
    own = _SPREADS[:, None] ** 2 * precision  # the weight of a category's own mean
    shrunk = own * means + (1 - own) * centre[:, None]
    deviations = np.sqrt(own * errors + (1 - own) ** 2 / total[:, None])
    return weights / weights.sum(), shrunk, deviations


def _quantile(weights: Floats, centres: Floats, deviations: Floats, level: float) -> Floats:
    """A quantile [G] of mixtures of normal distributions, by bisection."""
    low, high = np.full(centres.shape[1], -4.0), np.full(centres.shape[1], 5.0)
    for _ in range(50):
        middle = (low + high) / 2
        below = weights @ special.ndtr((middle - centres) / deviations) < level
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2
