"""The baseline along its guidance scale at the candidate's cost, and the candidate beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.reporting import words
from harness.reporting.drawing import COLOURS, INK, SOFT, Drawing, dress, log_ticks, new_figure
from harness.reporting.page import Table, Verdict, by_metric
from harness.store import files
from harness.store.comparison_tables import CANDIDATE, Comparison, MetricInfo
from harness.store.results import Estimate, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = "guidance scale of the baseline"
_BASELINE, _CANDIDATE = COLOURS[0], COLOURS[5]


@dataclass(frozen=True)
class ScorePoint:
    """A run on one metric: its guidance scale, its score, and the candidate's winning rate."""

    weight: float | None
    score: Estimate
    rate: Result | None = None


UNKNOWN = Estimate(None, None, None, 0)


def fits(comparison: Comparison, curve: Comparison) -> bool:
    """Whether both are of the same candidate over the same images."""
    a, b = comparison.candidate, curve.candidate
    return (a.run_id, a.prompts, a.seeds, a.images) == (b.run_id, b.prompts, b.seeds, b.images)


PICKED = (
    "The best of a curve is picked by its scores on these very images, which favours the baseline; "
    "the candidate's own guidance was not tuned."
)


def best_at(values: Sequence[float], metric: MetricInfo) -> int:
    """Where the best of a metric's values is."""
    best = max if metric.direction == "higher" else min
    return best(range(len(values)), key=values.__getitem__)


def against_best(curve: Comparison) -> Verdict | None:
    """Against the baseline with the guidance that scores best on the first metric; None without
    scores."""
    metric = curve.metrics[0]
    known = [
        (p, p.rate, p.score.value)
        for p in _points(curve, metric)[1]
        if p.rate and p.score.value is not None
    ]
    if not known:
        return None
    best, rate, _ = known[best_at([value for *_, value in known], metric)]
    line = (
        f"At matched cost the baseline scores best on {words.label(metric)} with guidance "
        f"{words.scale(best.weight)}: {words.estimate(best.score)}. The candidate scores better "
        f"than that in {words.rate(rate.winning_rate)} of pairs."
    )
    for verdict, told in (("wins", "beats"), ("loses", "loses to")):
        scales = [words.scale(p.weight) for p, each, _ in known if each.verdict == verdict]
        line += f" It {told} guidance {words.joined(scales)}." if scales else ""
    return Verdict("best of the guidance curve", rate.verdict, f"{line} {PICKED}")


def curve_figures(curve: Comparison) -> list[Drawing]:
    """A figure a metric and set metric that has a score."""
    drawn = (_figure(curve, metric) for metric in [*curve.metrics, *curve.set_metrics])
    return [one for one in drawn if one is not None]


def curve_table(curve: Comparison) -> Table:
    """The same in numbers: a row a guidance scale."""
    nfe = {role: words.count(run.cost.nfe) for role, run in curve.runs.items()}

    def rows(metric: MetricInfo) -> list[list[str]]:
        candidate, points = _points(curve, metric)
        names = ["candidate", *(f"baseline at {words.scale(p.weight)}" for p in points)]
        both = zip(_ordered(curve), names, [candidate, *points], strict=True)
        return [[name, nfe[role], *_cells(point)] for role, name, point in both]

    columns = ["run", "NFE", "score", "candidate's winning rate", "wins / ties / losses"]
    return Table(
        f"Against the baseline's guidance scale, at the cost of {curve.candidate.sampler.name}",
        [*columns, "pairs (prompts)"],
        by_metric([*curve.metrics, *curve.set_metrics], rows),
        "Every baseline has the fewest steps that cost at least as much as the candidate. 95 % "
        "intervals over prompts.",
    )


def _cells(point: ScorePoint) -> list[str]:
    shown, row = words.estimate(point.score), point.rate
    if row is None:
        return [shown, words.NONE, words.NONE, words.NONE]
    return [shown, words.rate(row.winning_rate), words.outcomes(row), words.pairs(row)]


def _ordered(curve: Comparison) -> list[str]:
    """The candidate, then the baselines by guidance scale."""
    known = {role: weight(curve, role) for role in curve.baselines}
    return [CANDIDATE, *sorted(known, key=lambda role: known[role] or 0.0)]


def weight(curve: Comparison, role: str) -> float | None:
    """A run's nominal guidance scale; of a baseline without one, the scale that it was told."""
    run = curve.runs[role]
    if run.guidance.value is not None or role == CANDIDATE:
        return run.guidance.value
    told = run.sampler.params.get("guidance")
    return None if told is None else float(told)


def _points(curve: Comparison, metric: MetricInfo) -> tuple[ScorePoint, list[ScorePoint]]:
    """The candidate, and the baselines by guidance scale."""
    paired = metric in curve.metrics

    def point(role: str) -> ScorePoint:
        rate = curve.rate(role, metric.name) if paired and role != CANDIDATE else None
        return ScorePoint(weight(curve, role), curve.scores(role).get(metric.name, UNKNOWN), rate)

    candidate, *baselines = map(point, _ordered(curve))
    return candidate, baselines


def _figure(curve: Comparison, metric: MetricInfo) -> Drawing | None:
    candidate, points = _points(curve, metric)
    known = [p for p in points if p.weight and p.score.value is not None]
    if not known:
        return None
    rated = [p for p in known if p.rate and p.rate.winning_rate.value is not None]
    with new_figure(4.5 if rated else 2.7) as figure:
        upper, *lower = figure.subplots(2 if rated else 1, 1, sharex=True, squeeze=False)[:, 0]
        upper.set_xscale("log")
        draw_scores(upper, candidate, known)
        upper.set_ylabel(words.label(metric))
        for axes in lower:
            _rates(axes, rated)
        _legend(figure, candidate)
        scale_ticks([upper, *lower], scales([candidate, *known]))
        (lower or [upper])[-1].set_xlabel(ACROSS, size=9, color=SOFT)
    at = candidate.weight
    where = "across, as it has no scale" if at is None else f"at its own, {words.scale(at)}"
    caption = (
        f"{words.label(metric)} of the baseline against its guidance scale, at the "
        f"candidate's cost (band: 95 % interval), and the candidate {where}."
    )
    if rated:
        caption += " Below: the candidate's winning rate over each of these baselines."
    return Drawing(files.file_name("guidance", metric.name), figure, _said(metric, known), caption)


def scales(points: Sequence[ScorePoint]) -> list[float]:
    """Of the points that have one that is not 0: scales are drawn as logarithms."""
    return [p.weight for p in points if p.weight]


def draw_scores(axes: Axes, candidate: ScorePoint, points: Sequence[ScorePoint]) -> None:
    """The baseline's `points` joined, with a band of intervals, and the candidate."""
    values: list[Any] = [p.score.value for p in points]
    axes.plot(scales(points), values, "-o", color=_BASELINE, markersize=4.5)
    sure = [p for p in points if p.score.ends]
    low, high = ([p.score.ends[at] for p in sure if p.score.ends] for at in (0, 1))
    axes.fill_between(scales(sure), low, high, color=_BASELINE, alpha=0.18, linewidth=0)
    if (own := candidate.score.value) is not None:
        _candidate(axes, candidate.weight, own, candidate.score.ends)


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
        found = p.rate.winning_rate.through(lambda rate: 100 * rate)
        axes.plot(scales([p]), np.array([found.value], float), "D", color=_CANDIDATE, markersize=5)
        if found.ends:
            axes.plot(2 * scales([p]), found.ends, color=_CANDIDATE, linewidth=1.4)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.set_ylabel("winning rate, %")


def scale_ticks(panels: Sequence[Axes], weights: Sequence[float]) -> None:
    """Labels at the scales that were run."""
    for axes in panels:
        log_ticks(axes, weights, 1.12, words.scale)
        dress(axes)


def _said(metric: MetricInfo, points: Sequence[ScorePoint]) -> str:
    parts = []
    for p in points:
        won = p.rate and f", winning rate of the candidate {words.rate(p.rate.winning_rate)}"
        parts.append(f"at {words.scale(p.weight)}: {words.estimate(p.score)}{won or ''}")
    return f"{metric.label} of the baseline by guidance scale: {'; '.join(parts)}"
