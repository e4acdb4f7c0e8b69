"""Results of pairs on one metric: winning rate, difference, effect sizes, with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from harness.comparison import categories, effects, statistics, two_way
from harness.comparison.decided_pairs import decided_rate
from harness.comparison.decisions import verdict
from harness.comparison.joined import Joined
from harness.comparison.sample_size import detectable
from harness.comparison.statistics import Codes, Floats, Mask
from harness.core.outcome import OUTCOMES, balance
from harness.core.outcome import outcome as outcome_of
from harness.store.comparison_tables import MetricInfo
from harness.store.results import Estimate, Result, WinningRate

_FLAGS = ("shared", "crossed", "fewest", "category_names", "alone")


@dataclass(frozen=True)
class Pairs:
    """Some pairs as arrays [n]; `outcome` is nan where one is left out for one of the `reasons`.

    `categories` are places in `category_names`; `alone` are the numbers of items of either side
    without a partner. `shared`: the noise depends on the seed alone, so that prompts share it.
    `crossed`: all pairs of a prompt's images, whose noise differs. `fewest`: where categories are a
    sample, how many of them an interval takes; 0 where prompts are.
    """

    outcome: Floats
    a: Floats
    b: Floats
    a_failed: Mask
    b_failed: Mask
    prompts: Codes
    seeds: Codes
    reasons: pd.Series
    shared: bool
    crossed: bool
    categories: Codes
    category_names: Sequence[str] = ()
    alone: tuple[int, int] = (0, 0)
    fewest: int = 0

    @classmethod
    def of(
        cls, joined: Joined, metric: MetricInfo, shared: bool, population: str = "prompts"
    ) -> Pairs:
        """All pairs on a metric."""
        outcomes = joined.outcomes(metric)
        return cls(
            outcomes,
            *joined.scores(metric),
            joined.a_failed,
            joined.b_failed,
            joined.prompts,
            joined.seeds,
            joined.left_out(metric, outcomes),
            shared and not joined.crossed,
            joined.crossed,
            joined.categories,
            joined.category_names,
            (joined.a_alone, joined.b_alone),
            categories.FEWEST if population == "categories" else 0,
        )

    @classmethod
    def read(cls, frame: pd.DataFrame, shared: bool) -> Pairs:
        """The pairs of a table as PAIRS."""
        crossed = bool(frame["b_seed"].notna().any())
        places, names = pd.factorize(frame["category"].where(frame["category"] != ""), sort=True)
        return cls(
            frame["outcome"].to_numpy(float),
            frame["a_value"].to_numpy(float),
            frame["b_value"].to_numpy(float),
            frame["a_failed"].notna().to_numpy(bool),
            frame["b_failed"].notna().to_numpy(bool),
            pd.factorize(frame["prompt_id"])[0],
            pd.factorize(frame["seed"])[0],
            frame["left_out"],
            shared and not crossed,
            crossed,
            places,
            [str(name) for name in names],
        )

    def part(self, kept: Mask) -> Pairs:
        """The pairs that a mask [n] keeps."""
        if kept.all():
            return self
        rows = {name: value[kept] for name, value in vars(self).items() if name not in _FLAGS}
        return replace(self, **rows)

    @property
    def binary(self) -> bool:
        """Whether all scores are 0 or 1."""
        known = np.concatenate([self.a, self.b])
        known = known[~np.isnan(known)]
        return bool(len(known)) and bool(((known == 0) | (known == 1)).all())


def results(
    pairs: Pairs, metric: MetricInfo, comparison: str, role: str, margin: float | None
) -> Iterator[Result]:
    """The result over all pairs on a metric, then one for each category in alphabetical order.

    Categories are always exploratory.
    """
    whole = replace(result(pairs, metric, comparison, margin), **over_categories(pairs))
    yield replace(whole, role=role, a_unpaired=pairs.alone[0], b_unpaired=pairs.alone[1])
    drawn = _shrunken(pairs)
    for code, category in enumerate(pairs.category_names):
        inside = pairs.categories == code
        part = result(replace(pairs.part(inside), fewest=0), metric, comparison, margin)
        more = _without(pairs, ~inside, margin)
        more["shrunken"] = drawn.get(code, Estimate(None, None, None, 0, "no pairs"))
        yield replace(part, category=category, **more)


def result(
    pairs: Pairs, metric: MetricInfo, comparison: str, margin: float | None = None
) -> Result:
    """The result over some pairs on a metric: exploratory, of no category, none unpaired."""
    counted = ~np.isnan(pairs.outcome)
    outcome = pairs.outcome[counted]
    rate, p_value, p_method = _winning_rate(pairs.part(counted))
    prompts, seeds = (statistics.distinct(c[counted]) for c in (pairs.prompts, pairs.seeds))
    wins, ties, losses = (int((outcome == value).sum()) for value in OUTCOMES)
    difference, about = _difference(pairs, metric)
    effect, correlation, crossed = _effects(pairs, metric)
    return Result(
        comparison=comparison,
        metric=metric.name,
        direction=metric.direction,
        category=None,
        role="exploratory",
        seeds=seeds,
        pairs=len(outcome),
        wins=wins,
        ties=ties,
        losses=losses,
        a_failed=int(pairs.a_failed.sum()),
        b_failed=int(pairs.b_failed.sum()),
        left_out=int((~counted).sum()),
        a_unpaired=0,
        b_unpaired=0,
        winning_rate=replace(rate, n=prompts, reason=_why(rate, pairs)),
        p_value=p_value,
        p_method=p_method,
        verdict=verdict(rate, p_value, margin),
        detectable=rate.effective and detectable(rate.effective, rate.n - 1),
        warning=two_way.seed_warning(rate.n, seeds) if pairs.shared and seeds else None,
        difference=difference,
        effect=effect,
        correlation=correlation,
        crossed=crossed,
        decided=_decided(pairs.part(counted)),
        **about,
    )


def _decided(pairs: Pairs) -> Estimate:
    """The share of wins among the decided of pairs that count."""
    found = decided_rate(pairs.outcome, pairs.prompts)
    return _without_interval(found) if pairs.shared else found


def over_categories(pairs: Pairs) -> dict[str, Any]:
    """Fields of a result over all categories: whether they differ, and what if they are a sample.

    Prompts that share their noise are no independent observations: then there is neither.
    """
    pairs = pairs.part(~np.isnan(pairs.outcome))
    columns = (pairs.outcome, pairs.prompts, pairs.categories)
    shares, places = categories.by_prompt(*columns)
    if pairs.shared:
        p_value, method = None, "prompts share their noise"
        clustered, clustered_p = (
            Estimate(None, None, None, statistics.distinct(places), method),
            None,
        )
    else:
        p_value, method = categories.heterogeneity_p(shares, places)
        found, clustered_p, _ = categories.clustered_rate(*columns)
        clustered = Estimate(found.value, found.low, found.high, found.n, found.reason)
        if not found.ends:
            clustered = replace(clustered, value=None)
    return {
        "heterogeneity_p": p_value,
        "heterogeneity_method": method,
        "clustered": clustered,
        "clustered_p": clustered_p,
    }


def _shrunken(pairs: Pairs) -> dict[int, Estimate]:
    """The shrunken winning rates by the code of their category."""
    pairs = pairs.part(~np.isnan(pairs.outcome))
    shares, places = categories.by_prompt(pairs.outcome, pairs.prompts, pairs.categories)
    found = categories.shrunken_rates(shares, places)
    if pairs.shared:
        found = [_without_interval(estimate) for estimate in found]
    return dict(zip(map(int, np.unique(places)), found, strict=True))


def _without(pairs: Pairs, others: Mask, margin: float | None) -> dict[str, Any]:
    """Fields of a category's result: the winning rate over all others, its p and verdict."""
    rest = pairs.part(others & ~np.isnan(pairs.outcome))
    rest = replace(
        rest, fewest=max(0, rest.fewest - 1)
    )  # so that one of the fewest can be left out
    rate, p_value, _ = _winning_rate(rest)
    prompts = statistics.distinct(rest.prompts)
    kept = Estimate(rate.value, rate.low, rate.high, prompts, rate.reason)
    return {
        "without": kept,
        "without_p": p_value,
        "without_verdict": verdict(kept, p_value, margin),
    }


def _winning_rate(pairs: Pairs) -> tuple[WinningRate, float | None, str]:
    """The winning rate over pairs that count, with p-value and its method."""
    if pairs.shared:
        return two_way.shared_rate(pairs.outcome, pairs.prompts, pairs.seeds)
    if pairs.fewest:
        columns = (pairs.outcome, pairs.prompts, pairs.categories)
        return categories.clustered_rate(*columns, pairs.fewest)
    rate = statistics.winning_rate(pairs.outcome, pairs.prompts)
    return rate, *statistics.sign_flip_p(pairs.outcome, pairs.prompts)


def _difference(pairs: Pairs, metric: MetricInfo) -> tuple[Estimate, dict[str, Any]]:
    """Mean difference over pairs with a score on both sides, and fields of `Result` about it.

    Of a binary metric it is the risk difference: its sign is an outcome, whose rate has the
    interval and the p-value (McNemar's exact test for one seed; with more, that by prompts).
    """
    gap = pairs.a - pairs.b
    scored = ~np.isnan(gap)
    gap, both = gap[scored], pairs.part(scored)
    about: dict[str, Any] = {"difference_pairs": len(gap), "binary": pairs.binary}
    about |= dict.fromkeys(("only_a", "only_b", "mcnemar_p"))
    if pairs.binary:
        rate, about["mcnemar_p"], _ = _winning_rate(replace(both, outcome=outcome_of(gap)))
        about |= {"only_a": int((gap == 1).sum()), "only_b": int((gap == -1).sum())}
        difference = rate.through(balance)
    elif pairs.shared:
        difference = two_way.shared_mean(gap, both.prompts, both.seeds)
    elif pairs.fewest:
        difference = categories.clustered_mean(gap, both.prompts, both.categories)
    else:
        difference = statistics.mean(gap, both.prompts)
    if metric.least is not None and metric.most is not None:
        difference = difference.within(metric.least - metric.most, metric.most - metric.least)
    return difference, about


def _effects(pairs: Pairs, metric: MetricInfo) -> list[Estimate]:
    """Difference in seed deviations, correlation of a pair, winning rate at other seeds."""
    if pairs.crossed:
        return 3 * [Estimate(None, None, None, 0, "images are not paired")]
    scored = pairs.part(~(np.isnan(pairs.a) | np.isnan(pairs.b)))
    counted = pairs.part(~np.isnan(pairs.outcome))
    sides = (counted.a, counted.b, counted.a_failed, counted.b_failed)
    estimates = [
        effects.standardised_difference(scored.a, scored.b, scored.prompts),
        effects.pair_correlation(scored.a, scored.b, scored.prompts),
        effects.unpaired_rate(*sides, metric.sign, counted.prompts),
    ]
    return [_without_interval(each) for each in estimates] if pairs.shared else estimates


def _without_interval(estimate: Estimate) -> Estimate:
    """An estimate without its interval, which treats prompts of shared noise as independent."""
    if estimate.low is None:
        return estimate
    reason = "no interval: prompts share their noise"
    return replace(estimate, low=None, high=None, reason=reason)


def _why(rate: Estimate, pairs: Pairs) -> str | None:
    """The reason of a null rate; where every pair was left out, the commonest of theirs."""
    if rate.value is None and len(reasons := pairs.reasons.dropna().astype("string")):
        return f"no pair has a score on both sides ({reasons.mode().iloc[0]})"
    return rate.reason
