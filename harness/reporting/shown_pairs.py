"""Pairs to look at: those of a comparison, and of the baseline at its best guidance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from harness.reporting import words
from harness.reporting.forest import title
from harness.store.comparison_tables import BEST_OF, ComparisonTables
from harness.store.curve_rule import GUIDANCE_CURVE, judged_weights
from harness.store.run_facts import RunFacts


@dataclass(frozen=True)
class ShownPairs:
    """Tables with a run a role, `opens` the comparison to show first.

    Of GUIDANCE_CURVE, if it is among the roles, the two halves of the prompts may have baselines of
    their own: `weights` names it by pair, `curve` has the runs.
    """

    tables: ComparisonTables
    opens: str
    weights: Mapping[str, str] = field(default_factory=dict)
    curve: Mapping[str, RunFacts] = field(default_factory=dict)

    def facts(self, role: str, item: str) -> RunFacts:
        """The run of a pair's picture."""
        if role == GUIDANCE_CURVE and item in self.weights:
            return self.curve[self.weights[item]]
        return self.tables.runs[role]

    def name(self, role: str, item: str) -> str:
        """The name of a run, told apart from the others, by a pair's picture of it."""
        runs = {**self.tables.runs, role: self.facts(role, item)}
        return words.run_names(self.tables.changed(runs=runs))[role]

    def own_names(self, item: str) -> dict[str, str]:
        """The names of those of a pair's runs that are not the usual one of their role."""
        return {
            role: self.name(role, item)
            for role, usual in self.tables.runs.items()
            if self.facts(role, item) is not usual
        }

    @property
    def titles(self) -> dict[str, str]:
        """What each comparison is called."""
        return {role: title(self.tables, role) for role in self.tables.baselines}


def shown_pairs(comparison: ComparisonTables, along: ComparisonTables | None) -> ShownPairs:
    """The pairs of all comparisons but the best of N (which are of other seeds, unless they are
    what was declared), with those of the curve `along`, if there is a verdict over it."""
    opens = words.primary_first(comparison)[0]
    tables = comparison if opens == BEST_OF else comparison.without(BEST_OF)
    rule = along.curve_rule(along.metrics[0].name) if along is not None else None
    if along is None or rule is None or not rule.against:
        return ShownPairs(tables, opens)
    chosen = _best_guidance(along, rule.against)
    last = along.runs[rule.against[-1]]
    tables = tables.changed(
        runs={**tables.runs, GUIDANCE_CURVE: last},
        pairs=tables.pair_table.plus(chosen.assign(comparison=GUIDANCE_CURVE)),
    )
    if along.decided(GUIDANCE_CURVE).primary:
        opens = GUIDANCE_CURVE
    weights = dict(zip(chosen["item_id"], chosen["comparison"], strict=True))
    return ShownPairs(tables, opens, weights, {role: along.runs[role] for role in rule.against})


def _best_guidance(along: ComparisonTables, against: list[str]) -> pd.DataFrame:
    """The pairs of the baselines that the rule is over, on every metric."""
    if len(against) == 1:
        return along.pair_table.frame(against[0])
    pairs = along.pairs
    return pairs[pairs["comparison"] == judged_weights(pairs, (against[0], against[1]))]
