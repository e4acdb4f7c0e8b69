"""Agreement of metrics with people's votes, pair by pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from harness.comparison import human_votes, rating
from harness.comparison.joined import Joined
from harness.comparison.statistics import Floats
from harness.core.outcome import TIE, balance
from harness.store.comparison_tables import MetricInfo
from harness.store.results import Agreement, Result
from harness.store.votes import HUMAN, Votes

_DECIDED = ("wins", "loses", "equivalent")


def agreements(
    joined: Joined,
    votes: Votes,
    results: Sequence[Result],
    metrics: Sequence[MetricInfo],
    comparison: str,
    shared: bool,
) -> Iterator[Agreement]:
    """For each metric, how often it prefers the image of a pair that people prefer.

    A pair counts once, however many voted on it: people prefer the image with more than half of its
    votes. Where the votes tie there is nothing to agree with, and the pair is left out; where
    people decide and the metric's scores are equal, it counts one half, as a coin flip would. So
    one half is chance. Pairs with a failed image, which nobody had to look at, or without a score
    are left out, too. The interval and the p-value are those of a winning rate, over prompts.

    `results` hold the metrics' verdicts over all their pairs; the people's is over those that have
    a vote. `shared`: prompts share their noise.
    """
    polled = rating.Pairs.of(human_votes.voted(joined, votes), HUMAN, shared)
    people = rating.result(polled, HUMAN, comparison).verdict
    verdicts = {
        r.metric: r.verdict for r in results if (r.comparison, r.category) == (comparison, None)
    }
    for metric in metrics:
        if metric != HUMAN:
            scored = rating.Pairs.of(joined, metric, shared)
            yield _agreement(
                scored, polled.outcome, metric, comparison, verdicts[metric.name], people
            )


def _agreement(
    scored: rating.Pairs,
    people: Floats,
    metric: MetricInfo,
    comparison: str,
    verdict: str,
    people_verdict: str,
) -> Agreement:
    voted = ~np.isnan(people)
    usable = voted & ~np.isnan(scored.outcome) & ~(scored.a_failed | scored.b_failed)
    counted = usable & (people != TIE)
    agreed = alike(scored.outcome, people)
    row = rating.result(replace(scored, outcome=agreed).part(counted), metric, comparison)
    return Agreement(
        comparison=comparison,
        metric=metric.name,
        agreement=row.winning_rate,
        pairs=row.pairs,
        people_tied=int((usable & (people == TIE)).sum()),
        metric_tied=int((scored.outcome[counted] == TIE).sum()),
        left_out=int((voted & ~usable).sum()),
        p_value=row.p_value,
        p_method=row.p_method,
        verdict=verdict,
        people=people_verdict,
        same=verdict == people_verdict if {verdict, people_verdict} <= {*_DECIDED} else None,
    )


def alike(metric: Floats, people: Floats) -> Floats:
    """Agreement [n] of two outcomes [n]: 1 if alike, 0 if opposite, 1/2 where either ties."""
    agreed: Floats = TIE + balance(metric) * balance(people) / 2
    return agreed
