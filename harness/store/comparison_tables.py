"""A comparison on disk: `compare/*.parquet` with `compare/comparison.json`, and the same in memory.

One candidate run against any number of named baselines ("own", "matched cost", ...), on any number
of metrics. The first metric is the headline.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

import pandas as pd

from harness.core.errors import HarnessError
from harness.store import files, result_columns, results
from harness.store.curve_rule import CurveRule
from harness.store.looks import Look
from harness.store.pair_table import AllPairs, PairTable
from harness.store.results import Agreement, Direction, Estimate, Mean, Result, SetResult
from harness.store.run_facts import RunFacts

CANDIDATE = "candidate"

POPULATIONS = ("prompts", "categories")
"""What a comparison's intervals over all categories speak of: prompts like these, in these
categories; or categories like these, which are then a sample."""

CURVE = "curve"
"""Folder, below the candidate's run, of its comparison with the baseline's guidance curve."""

BEST_OF = "best of N"
"""The comparison with the best of several pictures of a cheaper run, chosen by another metric."""

_PAIRS = "pairs.parquet"
_TABLES = {
    "winning_rates": result_columns.RATES,
    "summary": result_columns.SUMMARY,
    "set_scores": result_columns.SET_SCORES,
}


@dataclass(frozen=True)
class MetricInfo:
    """A metric as a comparison records it. `name` is its folder under `scores/`.

    `least` and `most` are the ends of its range; null where it has none.
    """

    name: str
    direction: Direction
    title: str = ""
    about: str = ""
    least: float | None = None
    most: float | None = None

    @property
    def arrow(self) -> str:
        return "↑" if self.direction == "higher" else "↓"

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is."""
        return 1 if self.direction == "higher" else -1

    @property
    def label(self) -> str:
        return self.title or self.name


@dataclass(frozen=True)
class Primary:
    """The declared primary result, chosen before looking: a metric and a comparison, by name."""

    metric: str
    comparison: str


@dataclass(frozen=True)
class RunScore:
    """A run's score on a metric, over all its images. `run` is "candidate" or a comparison's name.

    `identity` tells which version and weights of the metric gave it; null: not known. `left_out`
    are the values with one block of prompts (or seeds) left out, `items` names exactly the images:
    both are needed for the interval of a difference.
    """

    run: str
    metric: MetricInfo
    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    identity: str | None = None
    left_out: tuple[float, ...] = ()
    items: str | None = None

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.value, self.low, self.high, self.n, self.reason)


@dataclass(frozen=True)
class ComparisonTables:
    """A comparison's results on each of the `metrics`, and its runs by role ("candidate" first).

    `results` are the winning rates and differences, `means` the runs' own scores, `set_results`
    their scores on metrics of whole sets; `rates`, `summary` and `set_scores` are the same as
    DataFrames, and `pairs` every pair: see RATES, SUMMARY, SET_SCORES and PAIRS. There may be more
    pairs than memory holds, so that `pair_table` is what to read some of them from.

    `absent` names the comparisons that were not made, with the reason; `same` those whose baseline
    is the very run of another one, which alone is in the tables. `commands` reproduce the
    comparison. `primary` is what was declared to decide, `margin` how far from one half a
    winning rate may be and still not matter. `population` is what intervals over all categories
    speak of, see POPULATIONS. `equal` names the baselines whose pictures are the
    candidate's own. `curve` are the rules of the results called
    GUIDANCE_CURVE, if there are any, a metric each; `looks` say how often what was asked before.
    `agreements` are the metrics' with people's votes,
    where there are any; `agreement` is the same as a DataFrame, see AGREEMENT.
    """

    runs: dict[str, RunFacts]
    metrics: list[MetricInfo]
    pairs: pd.DataFrame
    results: list[Result]
    means: list[Mean]
    set_results: list[SetResult]
    absent: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    primary: Primary | None = None
    margin: float | None = None
    same: dict[str, str] = field(default_factory=dict)
    population: str = POPULATIONS[0]
    equal: list[str] = field(default_factory=list)
    curve: list[CurveRule] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)

    @property
    def pair_table(self) -> PairTable:
        """The pairs, of which no more is read than is asked for."""
        held: PairTable = vars(self)["pairs"]
        return held

    def changed(self, **values: Any) -> ComparisonTables:
        """The same with other values of some fields; unlike `replace`, it reads no pairs."""
        return ComparisonTables(**{f.name: vars(self)[f.name] for f in fields(self)} | values)

    @property
    def candidate(self) -> RunFacts:
        return self.runs[CANDIDATE]

    @property
    def baselines(self) -> dict[str, RunFacts]:
        """The other runs, by the name of their comparison."""
        return {name: run for name, run in self.runs.items() if name != CANDIDATE}

    @cached_property
    def rates(self) -> pd.DataFrame:
        """The winning rates as a table, see RATES: a row a comparison, metric and category."""
        return results.typed(map(results.flat, self.results), result_columns.RATES)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The mean scores with the runs' costs as a table, see SUMMARY: a row a run and metric."""
        return self._with_runs(self.means, result_columns.SUMMARY)

    @cached_property
    def set_scores(self) -> pd.DataFrame:
        """The scores of whole sets as a table, see SET_SCORES: a row a run and metric."""
        return self._with_runs(self.set_results, result_columns.SET_SCORES)

    @cached_property
    def agreement(self) -> pd.DataFrame:
        """How often the metrics agree with people's votes as a table, see AGREEMENT."""
        return results.typed(map(results.flat, self.agreements), result_columns.AGREEMENT)

    def _with_runs(self, rows: Sequence[Mean | SetResult], columns: dict[str, str]) -> pd.DataFrame:
        flat = ({**results.flat(row), **self.runs[row.run].columns} for row in rows)
        return results.typed(flat, columns)

    @cached_property
    def _overall(self) -> dict[tuple[str, str], Result]:
        return {(r.comparison, r.metric): r for r in self.results if r.category is None}

    def rate(self, comparison: str, metric: str) -> Result:
        """The result of one comparison on one metric, over all categories."""
        return self._overall[self.same.get(comparison, comparison), metric]

    def decided(self, comparison: str) -> Result:
        """The result of one comparison on the first metric, which verdicts go by."""
        return self.rate(comparison, self.metrics[0].name)

    def by_category(self, comparison: str, metric: str) -> list[Result]:
        """The results of one comparison on one metric in each category."""
        key = (self.same.get(comparison, comparison), metric)
        return [r for r in self.results if r.category and (r.comparison, r.metric) == key]

    def changing(self, comparison: str, metric: str) -> list[Result]:
        """The categories, as their results, whose removal changes the verdict over all."""
        verdict, parts = self.rate(comparison, metric).verdict, self.by_category(comparison, metric)
        if verdict == "undefined" or len(parts) < 2:
            return []
        return [part for part in parts if part.without_verdict != verdict]

    def look(self, comparison: str, metric: str) -> Look | None:
        """Which look at one comparison on one metric this is; None where looks are not counted."""
        asked = (self.same.get(comparison, comparison), metric)
        return next((one for one in self.looks if (one.comparison, one.metric) == asked), None)

    def curve_rule(self, metric: str) -> CurveRule | None:
        """The rule of the result against the guidance curve on a metric; None without one."""
        return next((rule for rule in self.curve if rule.metric == metric), None)

    @property
    def set_metrics(self) -> list[MetricInfo]:
        """The metrics of whole sets of images."""
        about = {row.metric: (row.direction, row.title, row.about) for row in self.set_results}
        return [MetricInfo(name, *rest) for name, rest in about.items()]

    def without(self, comparison: str) -> ComparisonTables:
        """The same without one comparison."""
        return self.changed(
            runs={role: run for role, run in self.runs.items() if role != comparison},
            pairs=self.pair_table.without(comparison),
            results=[row for row in self.results if row.comparison != comparison],
            means=[row for row in self.means if row.run != comparison],
            set_results=[row for row in self.set_results if row.run != comparison],
            agreements=[row for row in self.agreements if row.comparison != comparison],
        )

    def scores(self, run: str) -> dict[str, Estimate]:
        """A run's scores by metric, those of whole sets after the means."""
        means = {row.metric: row.mean for row in self.means if row.run == run}
        return means | {row.metric: row.value for row in self.set_results if row.run == run}

    def save(self, out: str) -> None:
        """Write `compare/` below `out`. Local run paths are kept relative to it."""
        folder = files.join(out, "compare")
        self.pair_table.write(files.join(folder, _PAIRS))
        frames = (self.rates, self.summary, self.set_scores)
        for name, frame in zip(_TABLES, frames, strict=True):
            files.write_frame(files.join(folder, f"{name}.parquet"), frame)
        runs = {
            name: {**asdict(run), "path": _relative(run.path, folder)}
            for name, run in self.runs.items()
        }
        record = {
            "runs": runs,
            "metrics": [asdict(metric) for metric in self.metrics],
            "absent": self.absent,
            "same": self.same,
            "commands": self.commands,
            "primary": asdict(self.primary) if self.primary else None,
            "margin": self.margin,
            "population": self.population,
            "equal": self.equal,
            "curve": [asdict(rule) for rule in self.curve],
            "looks": [asdict(look) for look in self.looks],
            "agreements": [asdict(row) for row in self.agreements],
        }
        files.write_json(files.join(folder, "comparison.json"), record)


ComparisonTables.pairs = AllPairs()  # type: ignore[assignment]  # read when it is asked for


def holds_comparison(folder: str) -> bool:
    """Whether a comparison was saved in a folder."""
    return files.exists(files.join(folder, "compare", "comparison.json"))


def load_comparison(out: str) -> ComparisonTables:
    """Read what `ComparisonTables.save(out)` wrote; raises HarnessError if there is none, or one by
    another version with other columns."""
    if not holds_comparison(out):
        raise HarnessError(f"{out} holds no comparison: there is no compare/comparison.json in it")
    folder = files.join(out, "compare")
    record = files.read_json(files.join(folder, "comparison.json"))
    frames = {name: files.read_frame(files.join(folder, f"{name}.parquet")) for name in _TABLES}
    pairs = PairTable.stored(files.join(folder, _PAIRS))
    old = "guidance" not in record["runs"][CANDIDATE]
    if (
        pairs is None
        or old
        or any(set(_TABLES[name]) - set(frame) for name, frame in frames.items())
    ):
        raise HarnessError(
            f"{folder} was written by another version of the harness: make the comparison again "
            "(harness bench or harness compare; pictures and scores are kept)"
        )
    tables = {name: results.typed(frame, _TABLES[name]) for name, frame in frames.items()}
    runs = {
        name: {**run, "path": _absolute(run["path"], folder)}
        for name, run in record["runs"].items()
    }
    return ComparisonTables(
        results.parsed(dict[str, RunFacts], runs, folder),
        [MetricInfo(**metric) for metric in record["metrics"]],
        pairs,  # type: ignore[arg-type]
        results.read_rows(Result, tables["winning_rates"]),
        results.read_rows(Mean, tables["summary"]),
        results.read_rows(SetResult, tables["set_scores"]),
        record["absent"],
        record["commands"],
        Primary(**record["primary"]) if record["primary"] else None,
        record["margin"],
        record.get("same", {}),
        record.get("population", POPULATIONS[0]),
        record.get("equal", []),
        results.parsed(list[CurveRule], record.get("curve", []), folder),
        results.parsed(list[Look], record.get("looks", []), folder),
        results.parsed(list[Agreement], record.get("agreements", []), folder),
    )


def _relative(path: str, folder: str) -> str:
    return path if "://" in path + folder else os.path.relpath(path, folder)


def _absolute(path: str, folder: str) -> str:
    return path if "://" in path else os.path.normpath(os.path.join(folder, path))
