"""A table of several samplers on disk, `survey.json`, and the same in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from harness.core.errors import HarnessError
from harness.store import files
from harness.store.comparison_tables import POPULATIONS, MetricInfo
from harness.store.curve_rule import CurveRule
from harness.store.looks import Look
from harness.store.results import Estimate, Result, SetResult, parsed, typed

FILE = "survey.json"

POINTS = {
    "run": "string",
    "series": "string",  # runs that one curve of a figure joins
    "sampler": "string",
    "model": "string",
    "guide": "string",
    "path": "string",
    "baseline": "bool",
    "varied": "string",  # JSON: {parameter: value}, of what was varied
    "nfe": "float64",
    "macs": "float64",
    "seconds": "float64",
    "images": "int64",
    "failed": "int64",
    "metric": "string",
    "direction": "string",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "n": "int64",
    "reason": "string",
    "on_front": "boolean",  # no other run is as cheap and as good; null without a value or cost
    "dominated_by": "string",  # a run that is
    "front_share": "float64",  # how often it is on the front when prompts are resampled
    "standing": "string",  # best, tied (not told apart, all runs at once), or null; see SUMMARY
}
"""`points.parquet`: one row a run and metric."""


@dataclass(frozen=True)
class Score(Estimate):
    """A run's score on a metric: over `n` images, with a 95 % interval where there is one, and its
    `standing` among the runs: see SUMMARY."""

    standing: str | None = None

    @classmethod
    def of(cls, found: Estimate, images: int, standing: str | None = None) -> Score:
        return cls(found.value, found.low, found.high, images, found.reason, standing)


@dataclass(frozen=True)
class Rate:
    """A winning rate in [0, 1] over a baseline of `nfe` evaluations an image; see RATES.

    `p_holm` is the p-value of a primary result among those of all candidates (Holm 1979), which the
    verdict goes by; null for exploratory ones. `difference` is that of the means, run minus
    baseline, with its interval. `look` says how often the same was asked of the sample before.
    `tries` is the N of a baseline that is the best of N, null of
    others, `decided` the share of pairs that do not tie.
    """

    setting: str  # own, matched cost, ..., guidance curve
    metric: str
    value: float | None
    low: float | None
    high: float | None
    pairs: int
    verdict: str
    reason: str | None
    nfe: float | None
    role: str = "exploratory"
    p_value: float | None = None
    p_holm: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    decided: float | None = None  # share of pairs that do not tie
    decided_won: float | None = None  # share of wins among these
    decided_low: float | None = None
    decided_high: float | None = None
    heterogeneity_p: float | None = None
    changing: list[str] = field(
        default_factory=list
    )  # categories without which it would be another
    look: Look | None = None
    tries: int | None = None

    @classmethod
    def of(
        cls,
        row: Result,
        setting: str,
        nfe: float | None,
        role: str,
        changing: Sequence[Result] = (),
    ) -> Rate:
        """A comparison's result as a survey keeps it: in this setting, with this role."""
        won, gap = row.winning_rate, row.difference
        about = (row.pairs, row.verdict, won.reason, nfe, role, row.p_value, None)
        ends = (gap.value, gap.low, gap.high)
        among = row.decided
        decided = (row.decided_share, among.value, among.low, among.high, row.heterogeneity_p)
        names = [str(part.category) for part in changing]
        return cls(
            setting, row.metric, won.value, won.low, won.high, *about, *ends, *decided, names
        )

    @property
    def wins_decided(self) -> Estimate:
        """The share of wins among the decided pairs."""
        return Estimate(self.decided_won, self.decided_low, self.decided_high, self.pairs)

    @property
    def winning_rate(self) -> Estimate:
        return Estimate(self.value, self.low, self.high, self.pairs, self.reason)

    @property
    def mean_difference(self) -> Estimate:
        ends = (self.difference_low, self.difference_high)
        return Estimate(self.difference, *ends, self.pairs, self.reason)


@dataclass(frozen=True)
class SetGap:
    """A run's score on a metric of whole sets minus a baseline's of `nfe` evaluations an image.

    `difference` is that of the scores as they stand, `corrected` that without bias, with its
    interval; the verdict is better, worse, undecided or undefined. See SET_SCORES.
    """

    setting: str  # own, matched cost, ..., or a point of the guidance curve
    metric: str
    difference: float | None
    corrected: float | None
    low: float | None
    high: float | None
    images: int
    verdict: str
    reason: str | None
    nfe: float | None

    @classmethod
    def of(cls, row: SetResult, setting: str, nfe: float | None) -> SetGap:
        """A comparison's difference as a survey keeps it, in this setting."""
        found = row.corrected
        about = (found.n, row.verdict or "undefined", found.reason, nfe)
        values = (row.difference.value, found.value, found.low, found.high)
        return cls(setting, row.metric, *values, *about)

    @property
    def corrected_difference(self) -> Estimate:
        return Estimate(self.corrected, self.low, self.high, self.images, self.reason)


@dataclass(frozen=True)
class PublishedNumber:
    """A published number: a score, or a winning rate in [0, 1] over the paper's baseline.

    Over `n` images (pairs) of `nfe` evaluations each, null where the source does not state it.
    `differs` states how its definition differs from the harness's metric of that name.
    """

    metric: str
    value: float
    winning_rate: bool
    source: str
    n: int | None = None
    nfe: float | None = None
    differs: str | None = None


@dataclass(frozen=True)
class Point:
    """The baseline at guidance `weight` and the candidate's cost, and the candidate's winning rates
    over it."""

    weight: float
    sampler: str
    nfe: float | None
    scores: dict[str, Score]
    rates: list[Rate]


@dataclass(frozen=True)
class Row:
    """One run of a survey. `absent` is why a comparison (by its setting) was not made.

    `seconds` and `macs` (multiply-accumulates) are those of an image. `series` names the curve of a
    figure that the run is a point of, `point` what of it was varied. `dominated_by`, by metric,
    names a run that is as cheap and as good or better: null on the Pareto front, absent where the
    run has no score or cost. `folder` holds its comparison, below the survey's; `curve` is the
    baseline's, by guidance, and `curve_rules` how the run was judged against it, a metric each.
    `front_share`, by metric, is in which share of resamples of the prompts the run is on the front,
    costs as they are; absent where nothing can be resampled.
    """

    label: str
    sampler: str
    model: str
    guide: str | None
    path: str
    baseline: bool
    nfe: float | None
    images: int
    failed: int
    scores: dict[str, Score]
    rates: list[Rate] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    published: list[PublishedNumber] = field(default_factory=list)
    seconds: float | None = None
    macs: float | None = None
    series: str = ""
    point: dict[str, Any] = field(default_factory=dict)
    dominated_by: dict[str, str | None] = field(default_factory=dict)
    guidance: float | None = None  # nominal scale
    folder: str | None = None
    curve: list[Point] = field(default_factory=list)
    set_gaps: list[SetGap] = field(default_factory=list)
    front_share: dict[str, float] = field(default_factory=dict)
    same_as: str | None = None  # an earlier row of the very same pictures
    curve_rules: list[CurveRule] = field(default_factory=list)

    def cost(self, unit: str) -> float | None:
        """The cost of an image in a unit: `nfe`, `macs` or `seconds`."""
        return {"nfe": self.nfe, "macs": self.macs, "seconds": self.seconds}[unit]

    def rate(self, setting: str, metric: str) -> Rate | None:
        """The winning rate in a setting on a metric; None where there is none."""
        rates = (r for r in self.rates if (r.setting, r.metric) == (setting, metric))
        return next(rates, None)


@dataclass(frozen=True)
class Pictured:
    """An image of which the report shows every run's picture."""

    prompt: str
    seed: int
    item: str


@dataclass(frozen=True)
class SurveyTable:
    """Scores and winning rates of several samplers; `rows` are the baselines, then the candidates.

    `headline` is the metric of the verdicts, None where nothing was paired; `notes` what was left
    out. `unit` is that of the cost which Pareto fronts go by, `varied` the parameters of a sweep.
    `population` is what intervals over all categories speak of, see POPULATIONS, `categories` how
    many there are, `margin` that of equivalence, `verifier` the metric that chose the best of N.
    """

    name: str
    title: str
    metrics: list[MetricInfo]
    headline: str | None
    rows: list[Row]
    notes: list[str]
    commands: list[str]
    unit: str = "nfe"
    varied: list[str] = field(default_factory=list)
    population: str = POPULATIONS[0]
    categories: int = 0
    margin: float | None = None
    verifier: str | None = None
    pictures: list[Pictured] = field(default_factory=list)

    def metric(self, name: str) -> MetricInfo:
        return next((m for m in self.metrics if m.name == name), MetricInfo(name, "higher"))

    def save(self, folder: str) -> None:
        """Write `survey.json`, and the scores as `points.parquet`."""
        files.write_json(files.join(folder, FILE), asdict(self))
        files.write_frame(files.join(folder, "points.parquet"), self.points())

    def points(self) -> pd.DataFrame:
        """Every score of every run, with its cost: see POINTS."""
        rows = []
        for row in self.rows:
            about = {name: getattr(row, name) for name in POINTS if hasattr(row, name)}
            about |= {"run": row.label, "varied": json.dumps(row.point, ensure_ascii=False)}
            for metric in self.metrics:
                if (score := row.scores.get(metric.name)) is None:
                    continue
                over = row.dominated_by.get(metric.name)
                front = over is None if metric.name in row.dominated_by else None
                found = {"metric": metric.name, "direction": metric.direction, **asdict(score)}
                found |= {"front_share": row.front_share.get(metric.name)}
                rows.append(about | found | {"on_front": front, "dominated_by": over})
        return typed(rows, POINTS)


def holds_survey(folder: str) -> bool:
    """Whether a survey was saved in a folder."""
    return files.exists(files.join(folder, FILE))


def load_survey(folder: str) -> SurveyTable:
    """Read what `SurveyTable.save(folder)` wrote; raises HarnessError if there is none."""
    if not holds_survey(folder):
        raise HarnessError(f"{folder} holds no {FILE}")
    where = files.join(folder, FILE)
    survey: SurveyTable = parsed(SurveyTable, files.read_json(where), where)
    return survey
