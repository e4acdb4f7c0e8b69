"""A candidate against the whole guidance curve of a baseline: against its best guidance.

The best of several weights, picked by its mean on the images that it is then judged on, is lucky: a
candidate equal to all of seven weights loses to it in 7 to 9 % of simulations instead of 2.5 %. So:

Where nothing was declared, the candidate wins if it beats every weight (intersection-union, Berger
1982: each at its own level, no correction), and loses if one of them beats it by Holm's correction
over all. Between equals it loses in 1 to 3 % and wins in 0.1 % of simulations at most.

Declared as the primary result, the weight is picked by the baseline's mean score on one half of the
prompts and judged on the other, both ways, and the pairs of both halves are pooled: cross-fitting.
The halves pick independently of what they are judged on; that each has a part in the other's result
was simulated and costs little: between equals it wins and loses in 2 to 4 % each, 5 to 6 in all.
Where equal weights leave intersection-union a power of 6 %, this one has 44 %. What it asks is
whether the candidate beats the baseline tuned on half as many prompts. Where the candidate equals
the best weight and others nearly do, that one is a little easier to beat: it wins in 6 %.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from harness.comparison import rating
from harness.comparison.decisions import holm, verdict
from harness.comparison.statistics import LEVEL
from harness.store.comparison_tables import ComparisonTables, MetricInfo, Primary
from harness.store.curve_rule import (
    GUIDANCE_CURVE,
    CurveRule,
    halves,
    judged_weights,
    prompt_texts,
)
from harness.store.results import Result, WinningRate


@dataclass(frozen=True)
class _Judged:
    """The results against the curve on one metric, over all categories first, the rule, and the
    pairs where they are none of the curve's own comparisons."""

    results: list[Result]
    rule: CurveRule
    pairs: pd.DataFrame | None = None


def with_curve(along: ComparisonTables) -> ComparisonTables:
    """A comparison with the baselines of a guidance curve, and with the curve as a whole.

    The results called GUIDANCE_CURVE are cross-fitted on the metric where that is the declared
    primary result, and by intersection-union on the others.
    """
    judged = [
        _cross_fitted(along, metric)
        if along.primary == Primary(metric.name, GUIDANCE_CURVE)
        else _every_weight(along, metric)
        for metric in along.metrics
    ]
    pooled = [one.pairs for one in judged if one.pairs is not None]
    return along.changed(
        pairs=along.pair_table.plus(*pooled),
        results=[*along.results, *(result for one in judged for result in one.results)],
        curve=[one.rule for one in judged],
    )


def _every_weight(along: ComparisonTables, metric: MetricInfo) -> _Judged:
    rows = [along.rate(name, metric.name) for name in along.baselines]
    result, rule = every_weight(rows, along.margin)
    return _Judged([result], rule)


def every_weight(rows: list[Result], margin: float | None = None) -> tuple[Result, CurveRule]:
    """The result by intersection-union over those of all weights on one metric, and the rule.

    Its rate, with wins, ties and losses, is the smallest of them, which is low even among equals;
    its p-value the largest, which that of "beats every weight" is, or Holm's of the weight that
    beats the candidate most surely. Equivalent: to every weight; so loses, too, what loses to every
    one without correction. Undefined weights cannot be beaten.
    """
    verdicts = {r.comparison: verdict(r.winning_rate, r.p_value, margin) for r in rows}
    behind = [1.0 if (r.winning_rate.value or 0) >= 0.5 else r.p_value for r in rows]
    adjusted = dict(zip(verdicts, holm(behind), strict=True))
    known = [r for r in rows if r.winning_rate.value is not None and r.p_value is not None]
    least = min(known or rows, key=lambda r: r.winning_rate.value or 0)
    beaten = [name for name, found in verdicts.items() if found == "wins"]
    lost = [n for n, p in adjusted.items() if verdicts[n] == "loses" and _small(p)]
    p_value = max((r.p_value for r in known if r.p_value is not None), default=None)
    method, found = f"largest of {len(rows)}", "undecided" if known else "undefined"
    if lost:
        p_value, found = min(p for n in lost if (p := adjusted[n]) is not None), "loses"
        method = f"Holm over {len(rows)}"
    elif len(set(verdicts.values())) == 1:
        found = next(iter(verdicts.values()))
        lost = [*verdicts] if found == "loses" else []
    result = replace(
        least,
        comparison=GUIDANCE_CURVE,
        role="exploratory",
        p_value=p_value,
        p_method=method,
        verdict=found,
        detectable=None,
    )
    return result, CurveRule(least.metric, False, len(rows), [least.comparison], beaten, lost)


def _small(p_value: float | None) -> bool:
    return p_value is not None and p_value < 1 - LEVEL


def _cross_fitted(along: ComparisonTables, metric: MetricInfo) -> _Judged:
    """The result of the pooled pairs of both halves, each with the weight that the other picked."""
    plain, rule = every_weight([along.rate(n, metric.name) for n in along.baselines], along.margin)
    pairs = along.pair_table.frame(metric=metric.name)
    picked, pooled = cross_fitted(pairs, metric.sign)
    rule = replace(rule, crossed=True, against=picked)
    if not picked:
        why = "two prompts with scores are the fewest that have halves"
        none = WinningRate(None, None, None, plain.winning_rate.n, why)
        undefined = replace(plain, winning_rate=none, p_value=None, verdict="undefined")
        return _Judged([replace(undefined, role="primary", p_method=why)], rule)
    judged = rating.Pairs.read(pooled, along.candidate.noise_key == "seed")
    found = rating.results(judged, metric, GUIDANCE_CURVE, "primary", along.margin)
    return _Judged(list(found), rule, pooled)


def cross_fitted(pairs: pd.DataFrame, sign: int) -> tuple[list[str], pd.DataFrame]:
    """The weights that the two halves of the prompts picked, and the pairs that they are judged on.

    `pairs` are those of all weights on one metric, as PAIRS; `sign` is 1 where higher is better.
    No weight where a half has no scores.
    """
    half = pairs["prompt_id"].map(halves(prompt_texts(pairs))).rename("half")
    means = pairs.groupby(["comparison", half, "prompt_id"], sort=False)["b_value"].mean()
    scores = means.groupby(level=[0, 1], sort=False).mean().unstack() * sign
    if scores.shape[1] < 2 or scores.isna().all().any():
        return [], pairs.iloc[:0]
    picked = (str(scores[0].idxmax()), str(scores[1].idxmax()))
    judged = pairs["comparison"] == judged_weights(pairs, picked)
    return [*picked], pairs[judged].assign(comparison=GUIDANCE_CURVE)
