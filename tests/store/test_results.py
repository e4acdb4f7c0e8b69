"""Rows of the result tables, and the same as tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.comparison import MetricInfo, RunScore, compare, load_comparison
from harness.store.result_columns import RATES
from harness.store.results import Estimate, Result, WinningRate, flat, read_rows, typed
from tests.comparison.synthetic_runs import Item, make_run

GOOD = MetricInfo("good", "higher", "Goodness")
EXACT = MetricInfo("exact", "higher")
FD = MetricInfo("fd", "lower", "Frechet distance", "a distance of sets")


def test_what_is_read_are_the_rows_that_were_made(tmp_path: Path) -> None:
    """Counts of a binary metric stay whole numbers beside rows where they are null."""

    def run(name: str, shift: float) -> object:
        rows = [
            Item(f"p{i}", s, {"good": 0.1 * i + shift * (i % 3) * s, "exact": float(i > shift)})
            for i in range(9)
            for s in range(2)
        ]
        return make_run(str(tmp_path / name), rows)

    scores = [RunScore(role, FD, 3.0, 18, 2.0, 4.0) for role in ("candidate", "own")]
    made = compare(run("a", 0.3), {"own": run("b", 4)}, [GOOD, EXACT], str(tmp_path), scores)
    read = load_comparison(str(tmp_path))
    assert read.results == made.results
    assert [m for m in read.means if m.metric == "good"] == made.means[::2]
    assert read.set_results == made.set_results
    assert read.set_metrics == [FD]
    assert read.runs == made.runs
    row = read.rate("own", "exact")
    assert (type(row.only_a), row.only_a, row.only_b) == (int, 8, 0)
    assert read.rate("own", "good").only_a is None


def test_an_estimate_is_several_columns() -> None:
    none = Estimate(None, None, None, 0, "no scores")
    about = {"comparison": "own", "metric": "good", "direction": "higher", "category": None}
    counts = dict.fromkeys(("seeds", "pairs", "wins", "ties", "losses", "a_failed", "b_failed"), 1)
    counts |= dict.fromkeys(("left_out", "a_unpaired", "b_unpaired", "difference_pairs"), 0)
    nulls = dict.fromkeys(("p_value", "detectable", "warning", "only_a", "only_b", "mcnemar_p"))
    row = Result(
        **about,
        **counts,
        **nulls,
        role="exploratory",
        p_method="exact",
        verdict="undecided",
        binary=False,
        winning_rate=WinningRate(0.6, 0.4, 0.8, 7, effective=30.0),
        difference=Estimate(0.1, -0.1, 0.3, 5),
        effect=replace(none, n=5),
        correlation=replace(none, n=5),
        crossed=none,
    )
    columns = flat(row)
    assert [columns[name] for name in ("winning_rate", "low", "high", "prompts")] == [
        0.6,
        0.4,
        0.8,
        7,
    ]
    assert (columns["effective"], columns["reason"]) == (30.0, None)
    assert (columns["difference_low"], columns["difference_prompts"]) == (-0.1, 5)
    assert (columns["crossed"], columns["crossed_reason"]) == (None, "no scores")
    table = typed([columns], RATES)
    assert list(table.columns) == list(RATES)
    assert read_rows(Result, table) == [row]


def test_an_estimate_seen_from_the_other_side() -> None:
    assert Estimate(0.7, 0.5, 0.8, 9).turned(1) == Estimate(
        pytest.approx(0.3), pytest.approx(0.2), 0.5, 9
    )
    assert Estimate(0.7, None, None, 1, "one prompt").turned(0).value == -0.7
