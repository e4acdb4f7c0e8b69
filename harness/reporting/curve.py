"""Figure, table and verdict of the baseline's guidance curve, at the candidate's cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.reporting import category_words, words
from harness.reporting.drawing import COLOURS, INK, SOFT, Drawing, dress, log_ticks, new_figure
from harness.reporting.page import Table, Verdict, by_metric
from harness.store import files
from harness.store.comparison_tables import CANDIDATE, ComparisonTables, MetricInfo
from harness.store.results import Estimate, Result
from harness.store.survey_table import Rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = "guidance scale of the baseline"
_BASELINE, _CANDIDATE = COLOURS[0], COLOURS[5]
UNKNOWN = Estimate(None, None, None, 0)


@dataclass(frozen=True)
class ScorePoint:
    """A run on one metric: its guidance scale, its score, and the candidate's winning rate."""

    weight: float | None
    score: Estimate
    rate: Result | Rate | None = None


@dataclass(frozen=True)
class Curve:
    """A metric's scores of a candidate, and of its baseline by ascending guidance scale."""

    metric: MetricInfo
    own: ScorePoint
    points: list[ScorePoint]

    @property
    def drawn(self) -> list[ScorePoint]:
        """The points to draw: with a score, and a scale above 0 for the logarithmic axis."""
        return [p for p in self.points if p.weight and p.score.value is not None]

    @property
    def best(self) -> ScorePoint | None:
        """The baseline's point with the best score; None without scores."""
        known = [p for p in self.points if p.score.value is not None]
        return max(known, key=lambda p: self.metric.sign * (p.score.value or 0), default=None)

    @property
    def over_best(self) -> Result | Rate | None:
        """The candidate's winning rate over the best of the baseline."""
        return self.best.rate if self.best else None

    def scales_where(self, verdict: str) -> list[str]:
        """The guidance scales, as text, at which the candidate has this verdict."""
        return [words.scale(p.weight) for p in self.points if p.rate and p.rate.verdict == verdict]


def fits(comparison: ComparisonTables, curve: ComparisonTables) -> bool:
    """Whether a comparison and a curve are of the same candidate over the same images."""
    a, b = comparison.candidate, curve.candidate
    return (a.run_id, a.prompts, a.seeds, a.images) == (b.run_id, b.prompts, b.seeds, b.images)


PICKED = (
    "The best of a curve is picked by its scores on these very images, which favours the baseline; "
    "the candidate's own guidance was not tuned."
)


def against_best(along: ComparisonTables) -> Verdict | None:
    """The verdict against the baseline at the guidance scale that scores best on the first metric;
    None without scores."""
    metric = along.metrics[0]
    curve = _curve(along, metric)
    best = curve.best
    if best is None or best.rate is None:
        return None
    line = (
        f"At matched cost the baseline scores best on {words.label(metric)} with guidance "
        f"{words.scale(best.weight)}: {words.estimate(best.score)}. The candidate scores better "
        f"than that in {words.rate(best.rate.winning_rate)} of pairs."
    )
    for verdict, verb in (("wins", "beats"), ("loses", "loses to")):
        scales = curve.scales_where(verdict)
        line += f" It {verb} guidance {words.joined(scales)}." if scales else ""
    return Verdict("best of the guidance curve", best.rate.verdict, f"{line} {PICKED}")


def curve_figures(along: ComparisonTables) -> list[Drawing]:
    """A figure for each metric and set metric that has a score."""
    curves = (_curve(along, metric) for metric in [*along.metrics, *along.set_metrics])
    return [_figure(curve) for curve in curves if curve.drawn]


def curve_table(along: ComparisonTables) -> Table:
    """The guidance curve as a table: a row a guidance scale."""
    nfe = [words.count(along.runs[role].cost.nfe) for role in _ordered(along)]

    def rows(metric: MetricInfo) -> list[list[str]]:
        curve = _curve(along, metric)
        names = ["candidate", *(f"baseline at {words.scale(p.weight)}" for p in curve.points)]
        both = zip(names, nfe, [curve.own, *curve.points], strict=True)
        return [[name, cost, *_cells(point)] for name, cost, point in both]

    return Table(
        f"Against the baseline's guidance scale, at the cost of {along.candidate.sampler.name}",
        [
            "run",
            "NFE",
            "score",
            "candidate's winning rate",
            "wins / ties / losses",
            "pairs (prompts)",
            "decided: won",
        ],
        by_metric([*along.metrics, *along.set_metrics], rows),
        "Every baseline has the fewest steps that cost at least as much as the candidate. 95 % "
        "intervals over prompts.",
    )


def _cells(point: ScorePoint) -> list[str]:
    shown, row = words.estimate(point.score), point.rate
    if not isinstance(row, Result):
        return [shown, *4 * [words.NONE]]
    counts = (words.outcomes(row), words.pairs(row), category_words.decided_cell(row))
    return [shown, words.rate(row.winning_rate), *counts]


def _ordered(curve: ComparisonTables) -> list[str]:
    """The candidate, then the baselines by guidance scale."""
    known = {role: weight(curve, role) for role in curve.baselines}
    return [CANDIDATE, *sorted(known, key=lambda role: known[role] or 0.0)]


def weight(curve: ComparisonTables, role: str) -> float | None:
    """A run's nominal guidance scale; of a baseline without one, its parameter `guidance`."""
    run = curve.runs[role]
    if run.guidance.value is not None or role == CANDIDATE:
        return run.guidance.value
    guidance = run.sampler.params.get("guidance")
    return None if guidance is None else float(guidance)


def _curve(along: ComparisonTables, metric: MetricInfo) -> Curve:
    def point(role: str) -> ScorePoint:
        paired = metric in along.metrics and role != CANDIDATE
        rate = along.rate(role, metric.name) if paired else None
        return ScorePoint(weight(along, role), along.scores(role).get(metric.name, UNKNOWN), rate)

    own, *points = map(point, _ordered(along))
    return Curve(metric, own, points)


def _figure(curve: Curve) -> Drawing:
    metric, at, points = curve.metric, curve.own.weight, curve.drawn
    rated = [p for p in points if p.rate and p.rate.winning_rate.value is not None]
    with new_figure(4.5 if rated else 2.7) as figure:
        upper, *lower = figure.subplots(2 if rated else 1, 1, sharex=True, squeeze=False)[:, 0]
        upper.set(xscale="log", ylabel=words.label(metric))
        draw_scores(upper, curve)
        for axes in lower:
            _rates(axes, rated)
        _legend(figure, curve.own)
        scale_ticks([upper, *lower], scales([curve.own, *points]))
        (lower or [upper])[-1].set_xlabel(ACROSS, size=9, color=SOFT)
    where = "across, as it has no scale" if at is None else f"at its own, {words.scale(at)}"
    caption = (
        f"{words.label(metric)} of the baseline against its guidance scale, at the "
        f"candidate's cost (band: 95 % interval), and the candidate {where}."
    )
    if rated:
        caption += " Below: the candidate's winning rate over each of these baselines."
    return Drawing(
        files.file_name("guidance", metric.name), figure, _spoken(metric, points), caption
    )


def scales(points: Sequence[ScorePoint]) -> list[float]:
    """The guidance scales of points, without 0 and null: the axis is logarithmic."""
    return [p.weight for p in points if p.weight]


def draw_scores(axes: Axes, curve: Curve) -> None:
    """The baseline's points joined, with a band of intervals, and the candidate."""
    own, points = curve.own, curve.drawn
    values: list[Any] = [p.score.value for p in points]
    axes.plot(scales(points), values, "-o", color=_BASELINE, markersize=4.5)
    sure = [p for p in points if p.score.ends]
    low, high = ([p.score.ends[at] for p in sure if p.score.ends] for at in (0, 1))
    axes.fill_between(scales(sure), low, high, color=_BASELINE, alpha=0.18, linewidth=0)
    if own.score.value is not None:
        _candidate(axes, own.weight, own.score.value, own.score.ends)


def _candidate(
    axes: Axes, at: float | None, value: float, ends: tuple[float, float] | None
) -> None:
    if at is None:
        axes.axhline(value, color=_CANDIDATE, linestyle="--")
        return
    axes.plot([at], [value], "D", color=_CANDIDATE, markersize=7, markeredgecolor="white")
    if ends:
        axes.plot([at, at], ends, color=_CANDIDATE, linewidth=1.6, zorder=1.9)


def _legend(figure: Figure, candidate: ScorePoint) -> None:
    from matplotlib.lines import Line2D

    alone: dict[str, Any] = {"linestyle": "--"}
    if candidate.weight is not None:
        alone = {"marker": "D", "linestyle": "none"}
    handles = [
        Line2D([], [], color=_BASELINE, marker="o", markersize=4.5, label="baseline"),
        Line2D([], [], color=_CANDIDATE, label="candidate", **alone),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False, fontsize=9)


def _rates(axes: Axes, points: Sequence[ScorePoint]) -> None:
    axes.axhline(50, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    for p in points:
        assert p.rate is not None
        percent = p.rate.winning_rate.through(lambda rate: 100 * rate)
        axes.plot(
            scales([p]), np.array([percent.value], float), "D", color=_CANDIDATE, markersize=5
        )
        if percent.ends:
            axes.plot(2 * scales([p]), percent.ends, color=_CANDIDATE, linewidth=1.4)
    axes.set(ylim=(0, 100), yticks=[0, 25, 50, 75, 100], ylabel="winning rate, %")


def scale_ticks(panels: Sequence[Axes], weights: Sequence[float]) -> None:
    """Ticks at the guidance scales that were run."""
    for axes in panels:
        log_ticks(axes, weights, 1.12, words.scale)
        dress(axes)


def _spoken(metric: MetricInfo, points: Sequence[ScorePoint]) -> str:
    parts = []
    for p in points:
        won = p.rate and f", winning rate of the candidate {words.rate(p.rate.winning_rate)}"
        parts.append(f"at {words.scale(p.weight)}: {words.estimate(p.score)}{won or ''}")
    return f"{metric.label} of the baseline by guidance scale: {'; '.join(parts)}"
