"""A candidate against the best of several pictures of a cheaper run: the cheapest rival.

A sampler that costs twice as much competes with making two pictures and keeping the one that a
metric, the verifier, scores better. All of it follows from scores that are stored.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from harness.comparison import pairs, rating
from harness.comparison.cost import run_cost
from harness.comparison.drawn_pairs import drawn
from harness.comparison.guidance_scales import run_guidance
from harness.core.errors import HarnessError
from harness.metrics.base import PromptMetric
from harness.store.comparison_tables import BEST_OF, MetricInfo
from harness.store.pair_table import Part
from harness.store.results import Result
from harness.store.run import Run
from harness.store.run_facts import Choice, Cost, RunFacts
from harness.store.votes import HUMAN

LEAST = 2
"""Fewer pictures to choose from are no choice."""

_UNITS = {"nfe": "evaluations", "macs": "multiply-accumulates", "seconds": "seconds"}


@dataclass(frozen=True)
class Rival:
    """The run whose best of N is compared, and the metric that chooses: its `verifier`.

    `not_judged` are the metrics, by label, that must not judge what the verifier chose, with the
    reason. `macs` are the verifier's multiply-accumulates for one picture; null with a `reason`.
    `unit` is that of the cost which sets N: macs, nfe or seconds; evaluations where multiply-
    accumulates are not known.
    """

    run: Run
    verifier: MetricInfo
    not_judged: Mapping[str, str] = field(default_factory=dict)
    macs: float | None = None
    reason: str | None = None
    unit: str = "macs"


@dataclass(frozen=True)
class Contested:
    """What a comparison with a rival adds to the tables: rows of each, or why there are none."""

    runs: dict[str, RunFacts] = field(default_factory=dict)
    pairs: list[Part] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)


def contest(
    rival: Rival | str,
    candidate: pairs.Scored,
    metrics: Sequence[MetricInfo],
    items: Collection[str] | None = None,
    by_prompt: Mapping[str, PromptMetric] | None = None,
    margin: float | None = None,
) -> Contested:
    """Every picture of the candidate against the best of each N of the rival, prompt by prompt.

    N is how often the rival's cost goes into the candidate's (`tries`). The rival's pictures of a
    prompt are taken in groups of N, by increasing seed, and the verifier keeps one of each group
    (`keep`). Each kept one meets every picture of the candidate at its prompt, whatever their
    seeds: a rate of two images drawn independently but for the few pairs that share noise, with the
    interval and the sign flips of `statistics`, over prompts. Metrics that must not judge have a
    null rate with the reason. `rival` as a text says why there is none.
    """
    if isinstance(rival, str):
        return Contested(absent={BEST_OF: rival})
    try:
        return _contested(rival, candidate, metrics, items, by_prompt or {}, margin)
    except Impossible as reason:
        return Contested(absent={BEST_OF: str(reason)})


class Impossible(HarnessError):
    """Why no comparison with the best of N can be made of these runs."""


def _contested(
    rival: Rival,
    candidate: pairs.Scored,
    metrics: Sequence[MetricInfo],
    items: Collection[str] | None,
    by_prompt: Mapping[str, PromptMetric],
    margin: float | None,
) -> Contested:
    not_judged = _not_judged(rival, by_prompt)
    judges = [metric for metric in metrics if metric.name not in not_judged]
    if not judges:
        raise Impossible("; ".join(not_judged[metric.name] for metric in metrics))
    if "seed" in (candidate.selection.run.spec.noise_key, rival.run.spec.noise_key):
        raise Impossible("prompts share their noise: groups of seeds would be the sample")
    read = dict.fromkeys([*judges, rival.verifier])
    held = pairs.read_items(rival.run, [*read], items, by_prompt)
    pairs.check_same_metrics(candidate, held)
    theirs = run_cost(held.selection, held.items)
    n = tries(run_cost(candidate.selection, candidate.items), theirs, rival.unit)
    kept, choice = keep(held.items, rival, n)
    sides = candidate.selection.run.path, rival.run.path
    try:
        joined = pairs.cross(candidate.items, kept, sides)
    except HarnessError as error:
        raise Impossible(str(error)) from None
    facts = RunFacts.of(
        rival.run, kept, _of_all(theirs, choice), run_guidance(held.selection, None)
    )
    parts: list[Part] = []
    rows: list[Result] = []
    for metric in metrics:
        if metric in judges:
            parts += drawn(joined, metric, BEST_OF)
            met = rating.Pairs.of(joined, metric, False)
            rows += rating.results(met, metric, BEST_OF, "exploratory", margin)
        else:
            met = rating.Pairs.of(joined, judges[0], False)
            rows.append(_null(metric, not_judged[metric.name], met))
    return Contested({BEST_OF: replace(facts, choice=choice)}, parts, rows)


def _not_judged(rival: Rival, by_prompt: Mapping[str, PromptMetric]) -> dict[str, str]:
    """The metrics that cannot score what was chosen, with the reasons."""
    reasons = {HUMAN.name: "votes are on pairs of single pictures, not on the best of several"}
    reasons |= dict.fromkeys(by_prompt, "of all images of a prompt, not of the one that is kept")
    return {**reasons, **rival.not_judged}


def tries(ours: Cost, theirs: Cost, unit: str) -> int:
    """How many pictures at cost `theirs` go into one at cost `ours`, rounded down.

    Raises Impossible for fewer than two, and for a cost that is not known.
    """
    if unit == "macs" and not (ours.macs and theirs.macs):
        unit = "nfe"
    one, other = getattr(ours, unit), getattr(theirs, unit)
    if not (one and other and ours.nfe and theirs.nfe):
        raise Impossible(f"the cost in {_UNITS[unit]} is not known on both sides")
    n = math.floor(one / other + 1e-9)
    if n < LEAST:
        raise Impossible(
            f"by {_UNITS[unit]}, an image of the candidate costs {one / other:.3g} times as much "
            f"as one to choose from ({ours.nfe:g} against {theirs.nfe:g} evaluations): less than "
            "two of them"
        )
    return n


def keep(items: pd.DataFrame, rival: Rival, n: int) -> tuple[pd.DataFrame, Choice]:
    """The items that are kept, one of each `n` of a prompt in the order of seeds, and the choice.

    The verifier's best is kept, of equals that of the lowest seed; a failed image only where all of
    the group failed. Groups of which no image has a score, though one has a picture, are left out;
    so are the last seeds of a prompt that do not fill a group. Raises Impossible where none is
    left.
    """
    items = items.astype({"prompt_id": "str"})  # in alphabetical order
    ordered = items.sort_values(["prompt_id", "seed"], kind="stable")
    by_prompt = ordered.groupby("prompt_id", sort=False)["seed"]
    place, size = by_prompt.cumcount(), by_prompt.transform("size")
    whole = ordered[place < size // n * n]
    if whole.empty:
        raise Impossible(f"it takes {n} seeds a prompt, and there are {int(size.max())}")
    verifier = rival.verifier
    pictured = whole["failed"].isna()
    score = (verifier.sign * whole[f"value:{verifier.name}"]).where(pictured)
    groups = [whole["prompt_id"], place[whole.index] // n]
    best = score.fillna(-np.inf).groupby(groups, sort=False).idxmax()
    ranked = score.notna().groupby(groups, sort=False).any()
    ranked |= ~pictured.groupby(groups, sort=False).any()
    if not ranked.any():
        raise Impossible(f"{verifier.label} has no score of any picture to choose from")
    kept = whole.loc[best[ranked].to_numpy()].reset_index(drop=True)
    left_over, unranked = len(items) - len(whole), int((~ranked).sum())
    return kept, Choice(n, verifier.name, left_over, unranked, rival.macs, rival.reason)


def _of_all(cost: Cost, choice: Choice) -> Cost:
    """The cost of one kept picture: of all `n`, and of the verifier's looks at them as far as its
    multiply-accumulates are known."""
    n = choice.n

    def times(value: float | None, more: float = 0.0) -> float | None:
        return None if value is None else n * (value + more)

    return replace(
        cost,
        nfe=times(cost.nfe),
        nfe_by_branch={name: n * mean for name, mean in cost.nfe_by_branch.items()},
        seconds=times(cost.seconds),
        macs=times(cost.macs, choice.macs or 0.0),
        calls=None if cost.calls is None else n * cost.calls,
    )


def _null(metric: MetricInfo, reason: str, met: rating.Pairs) -> Result:
    """The row of a metric that does not judge: none of the pairs that met, and the reason."""
    row = rating.result(met.part(np.zeros(len(met.outcome), bool)), metric, BEST_OF)
    return replace(row, winning_rate=replace(row.winning_rate, reason=f"not judged: {reason}"))
