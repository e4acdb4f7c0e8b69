"""Winning rates and means of prompts crossed with seeds, where all prompts share their noise.

With `noise_key=seed` one noise serves every prompt, so that images of one seed are alike as well as
images of one prompt, seeds are a sample, too, and an interval over prompts alone is too narrow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from harness.comparison.score_test import ScoreTest
from harness.comparison.statistics import (
    LEVEL,
    Codes,
    Floats,
    dense,
    distinct,
    mean,
    score,
    scored,
)
from harness.store.results import Estimate, WinningRate

FEWEST_SEEDS = 5
"""The fewest seeds that give a verdict where prompts share their noise."""

FEW_SEEDS = 10
_TOO_FEW = (
    f"noise shared by all prompts needs at least {FEWEST_SEEDS} seeds for an interval or a verdict"
)


@dataclass(frozen=True)
class _Crossed:
    """A mean over prompts, its variance over prompts, and what seeds add to that."""

    value: float
    by_prompt: float
    by_seed: float
    prompts: int
    seeds: int

    def degrees(self, by_prompt: float) -> float:
        """Satterthwaite's (1946) degrees of freedom of the sum of the two variances."""
        parts = by_prompt**2 / (self.prompts - 1) + self.by_seed**2 / (self.seeds - 1)
        total = (by_prompt + self.by_seed) ** 2
        return total / parts if parts > 0 else float(self.prompts - 1)


def _crossed(values: Floats, prompts: Codes, seeds: Codes) -> _Crossed:
    """The random-effects analysis of variance of prompts x seeds (Searle et al. 1992, chapter 4).

    A mean's variance is MS_prompt + MS_seed - MS_rest over the number of items; the last two, if
    positive, are what seeds add. Items may be missing: each weighs 1 / (prompts * items of its
    prompt), which is exact for complete tables.
    """
    prompts, counts = dense(prompts)
    seeds, taken = dense(seeds)
    m, s, n = len(counts), len(taken), len(values)
    weights = 1 / (m * counts[prompts])
    centre = float((weights * values).sum())
    of_prompt = np.bincount(prompts, values) / counts
    of_seed = np.bincount(seeds, weights * values) / np.bincount(seeds, weights)
    rest = values - of_prompt[prompts] - of_seed[seeds] + centre
    by_prompt = float(((of_prompt - centre) ** 2).sum() / (m * (m - 1)))
    share = np.bincount(seeds, weights)
    seeds_alone = float((share**2 * (of_seed - centre) ** 2).sum() * s / (s - 1))
    noise = float((weights**2 * rest**2).sum() * n / ((m - 1) * (s - 1)))
    by_seed = max(0.0, seeds_alone - noise) if np.ptp(values) else 0.0  # and no rounding
    return _Crossed(centre, by_prompt, by_seed, m, s)


def shared_rate(
    outcomes: Floats, prompts: Codes, seeds: Codes
) -> tuple[WinningRate, float | None, str]:
    """As `winning_rate`, for noise that depends on the seed alone; with p-value and its method.

    The spread of `winning_rate`'s score test grows by what seeds add to the variance, and Student's
    t has Satterthwaite's degrees of freedom. The p-value is that of the same test, since flipping
    the sign of prompts would take them for independent. One prompt: seeds are the observations
    (unconditional models). With fewer than five seeds there is no interval and no p-value, so that
    there is no verdict: of two seeds 13 to 15 % would be false, of four 7 to 9 %. From five on it
    is at most 8 %, and simulated coverage is 93 % or more from 10 on; `seed_warning` tells.
    """
    if not len(outcomes):
        return WinningRate(None, None, None, 0, "no pairs"), None, "no pairs"
    several_prompts = distinct(prompts) > 1
    test, m = score(outcomes, prompts if several_prompts else seeds)
    if m == 1:
        rate = WinningRate(test.value, None, None, 1, "one pair: no interval")
        return rate, None, "one pair: no p-value"
    if not several_prompts:
        return _tested(test, m, m - 1)
    if distinct(seeds) < FEWEST_SEEDS:
        return WinningRate(test.value, None, None, m, _TOO_FEW), None, _TOO_FEW
    table = _crossed(outcomes, prompts, seeds)
    one = test.variance(test.value)
    degrees = table.degrees(one * test.spread)
    if table.by_seed:
        test = replace(test, spread=test.spread + table.by_seed / one)
    return _tested(test, m, degrees)


def _tested(test: ScoreTest, m: int, degrees: float) -> tuple[WinningRate, float, str]:
    """A score test's winning rate over m prompts or seeds, its p-value and method."""
    p_value = float(2 * stats.t.sf(test.distance(0.5), degrees))
    return scored(test, m, degrees), p_value, "score test"


def shared_mean(values: Floats, prompts: Codes, seeds: Codes) -> Estimate:
    """As `mean`, for noise that depends on the seed alone: a two-way Student's t interval.

    Of several prompts and fewer than five seeds there is none: see `shared_rate`.
    """
    if distinct(prompts) < 2:
        return mean(values, seeds)
    if distinct(seeds) < FEWEST_SEEDS:
        return replace(mean(values, prompts), low=None, high=None, reason=_TOO_FEW)
    table = _crossed(values, prompts, seeds)
    degrees = table.degrees(table.by_prompt)
    error = math.sqrt(table.by_prompt + table.by_seed)
    half = float(stats.t.ppf((1 + LEVEL) / 2, degrees)) * error
    return Estimate(table.value, table.value - half, table.value + half, table.prompts)


def seed_warning(prompts: int, seeds: int) -> str | None:
    """A warning where all `prompts` share the noise of too few `seeds`; else None."""
    if prompts < 2 or seeds >= FEW_SEEDS:
        return None
    if seeds < FEWEST_SEEDS:
        noise = "one noise" if seeds == 1 else f"the noise of {seeds} seeds"
        return (
            f"all prompts share {noise}: no interval and no verdict, whatever the number of "
            f"prompts. Take {FEW_SEEDS} seeds or more, or noise_key=prompt"
        )
    return (
        f"all prompts share the noise of {seeds} seeds, too few to know how much it matters: take "
        f"{FEW_SEEDS} or more, or noise_key=prompt"
    )
