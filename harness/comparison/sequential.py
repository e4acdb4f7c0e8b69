"""Looks at a growing sample: each comparison is logged, and its level is what is left to spend.

Making more images and comparing again until something is significant errs in 7 to 20 % of cases
after 3 to 16 looks. Looks are counted by `store.looks`. Where a benchmark declares its primary
result, its prompts and seeds are the plan: that result goes by the level of its look, which
`alpha_spending` takes from the share of the plan that is there; at most 5 % of these verdicts are
false, however often somebody looks. Everything else is exploratory: a verdict stands, and the
report says that it is the third look and that p is not corrected.

Log and level are functions of what was compared, not of when: a look is at its share of the plan
wherever it comes in the order, after those of fewer images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from harness.comparison.alpha_spending import level_at
from harness.comparison.decisions import verdict
from harness.comparison.statistics import LEVEL, Codes, Floats, score
from harness.core.errors import HarnessError
from harness.store.comparison_tables import ComparisonTables
from harness.store.curve_rule import GUIDANCE_CURVE
from harness.store.looks import LogEntry, Look, log_looks
from harness.store.pair_table import PairTable, Part, pairs_hash
from harness.store.results import Estimate, Result

_OWN = "own"
_WHOLE = 1 - LEVEL - 1e-9


def with_looks(
    comparison: ComparisonTables, planned: int | None = None, curve_of: str | None = None
) -> ComparisonTables:
    """A comparison with its looks logged and counted, and the primary verdict at its level.

    `planned` is how many images a run was declared to have; None: nothing was declared. `curve_of`
    is the id of the run whose guidance curve the baselines are: then the curve as a whole is what
    is looked at. A log that cannot be read or written hinders nothing: the looks say why.
    """
    rows = [
        row
        for row in comparison.results
        if row.category is None and (curve_of is None or row.comparison == GUIDANCE_CURVE)
    ]
    seen = [_entry(comparison, row, curve_of) for row in rows]
    logged, problem = [[entry] for entry in seen], None
    try:
        logged = log_looks(comparison.candidate.path, seen)
    except (HarnessError, OSError) as error:
        problem = str(error)
    looks = [
        _look(row, entries, planned if row.primary else None, problem)
        for row, entries in zip(rows, logged, strict=True)
    ]
    judged = {
        id(row): _judged(comparison, row, look.level)
        for row, look in zip(rows, looks, strict=True)
        if look.level is not None and look.level < _WHOLE
    }
    results = [judged.get(id(row), row) for row in comparison.results]
    return comparison.changed(results=results, looks=looks)


def _entry(comparison: ComparisonTables, row: Result, curve_of: str | None) -> LogEntry:
    """What there is to see of one comparison on one metric."""
    pairs = _pairs(comparison, row)
    if curve_of is not None:
        against = f"{GUIDANCE_CURVE} of {curve_of}"
    elif row.comparison == _OWN or _OWN not in comparison.runs:
        against = comparison.runs[row.comparison].run_id
    else:
        against = f"{comparison.runs[_OWN].run_id} at {row.comparison}"
    images = row.pairs + row.left_out
    return LogEntry((against, row.metric), pairs_hash(pairs), images, row.pairs, row.p_value)


def _pairs(comparison: ComparisonTables, row: Result) -> list[Part]:
    """The pairs of a result; of all weights where the curve's rule is about each."""
    own = [*comparison.pair_table.of_metric(row.comparison, row.metric)]
    return own or [*comparison.pair_table.of_metric(None, row.metric)]


def _look(
    row: Result, entries: Sequence[LogEntry], planned: int | None, problem: str | None
) -> Look:
    *others, here = entries
    number = None if problem else here.number
    level = None
    if planned is not None:
        fewer = sorted({one.images for one in others if one.images < here.images})
        level = level_at([images / planned for images in (*fewer, here.images)])
    return Look(row.comparison, row.metric, number, here.images, planned, level, problem)


def _judged(comparison: ComparisonTables, row: Result, level: float | None) -> Result:
    """A result with its verdict at a level of less than 5 %."""
    assert level is not None
    if row.verdict in ("undecided", "undefined"):
        return row
    if comparison.candidate.noise_key == "seed":  # p is that of the interval
        sure = row.verdict != "equivalent" and (row.p_value or 0) < level
        return row if sure else replace(row, verdict="undecided")
    counted = PairTable(_pairs(comparison, row)).frame(columns=["prompt_id", "outcome"])
    counted = counted.dropna(subset="outcome")
    prompts = pd.factorize(counted["prompt_id"])[0].astype(np.int64)
    outcomes = counted["outcome"].to_numpy(float)
    found = verdict_at(level, outcomes, prompts, row.p_value, comparison.margin)
    return replace(row, verdict=found)


def verdict_at(
    level: float, outcomes: Floats, prompts: Codes, p_value: float | None, margin: float | None
) -> str:
    """The verdict as of `decisions.verdict`, with p and an interval of this level.

    `outcomes` [n] and `prompts` [n] as of `statistics.winning_rate`, of two prompts or more.
    """
    test, m = score(outcomes, prompts)
    low, high = test.interval(float(stats.t.isf(level / 2, m - 1))) if level else (0.0, 1.0)
    return verdict(Estimate(test.value, low, high, m), p_value, margin, level)
