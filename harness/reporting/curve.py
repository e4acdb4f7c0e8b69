"""Figure, table and verdict of the baseline's guidance curve, at the candidate's cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.reporting import category_words, look_words, words
from harness.reporting.drawing import COLOURS, INK, SOFT, Drawing, dress, log_ticks, new_figure
from harness.reporting.page import Table, Verdict, by_metric
from harness.store import files
from harness.store.comparison_tables import CANDIDATE, ComparisonTables, MetricInfo
from harness.store.curve_rule import GUIDANCE_CURVE
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


def fits(comparison: ComparisonTables, curve: ComparisonTables) -> bool:
    """Whether a comparison and a curve are of the same candidate over the same images."""
    a, b = comparison.candidate, curve.candidate
    return (a.run_id, a.prompts, a.seeds, a.images) == (b.run_id, b.prompts, b.seeds, b.images)


EVERY_WEIGHT = (
    "To win against the best guidance of the baseline it has to beat every weight, each for "
    "itself; it loses if one of them beats it by Holm's correction over all. The rate is the "
    "smallest of them, which is low even between equals."
)
CROSS_FITTED = (
    "The best guidance of the baseline is picked by its mean score on one half of the prompts and "
    "judged on the other, both ways."
)
UNTUNED = "The candidate's own guidance was not tuned."


def against_best(along: ComparisonTables) -> Verdict | None:
    """The verdict against the baseline at its best guidance and the candidate's cost, on the first
    metric; None where none was made."""
    rule = along.curve_rule(along.metrics[0].name)
    if rule is None:
        return None
    row = along.decided(GUIDANCE_CURVE)
    won, over = row.winning_rate, words.joined(list(dict.fromkeys(rule.against)))
    line = (
        f"Against the best guidance of the baseline at equal cost, the candidate scores better in "
        f"{words.rate(won)} of pairs on {words.label(along.metrics[0])} ({over}; "
        f"{words.plural(row.pairs, 'pair')} of {words.plural(won.n, 'prompt')}, "
        f"p{words.SPACE}{words.equals(row.p_value)}, {row.p_method})."
    )
    for names, verb in ((rule.beaten, "beats"), (rule.lost, "loses to")):
        line += f" It {verb} {words.joined(names)}." if names else ""
    line += f" {CROSS_FITTED if rule.crossed else EVERY_WEIGHT} {UNTUNED}"
    look = look_words.sentence(along.look(GUIDANCE_CURVE, row.metric))
    others = words.other_metrics(along, GUIDANCE_CURVE)
    return Verdict(words.BEST_GUIDANCE, row.verdict, f"{line} {look}".strip(), others, row.primary)


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
        rows = [[name, cost, *_cells(point)] for name, cost, point in both]
        return [*rows, *_whole(along, metric)]

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


def _whole(along: ComparisonTables, metric: MetricInfo) -> list[list[str]]:
    """The row of the curve as a whole, where the metric has one."""
    rule = along.curve_rule(metric.name)
    if rule is None:
        return []
    row = along.rate(GUIDANCE_CURVE, metric.name)
    name = f"{words.BEST_GUIDANCE} ({'cross-fitted' if rule.crossed else 'smallest rate'})"
    return [[name, words.NONE, *_cells(ScorePoint(None, UNKNOWN, row))]]


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
