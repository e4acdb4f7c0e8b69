"""The baseline along its guidance scale at the candidate's cost, and the candidate beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.reporting import words
from harness.reporting.drawing import COLOURS, INK, SOFT, Drawing, new_figure
from harness.reporting.tables import Group, Table, set_metrics
from harness.store import files
from harness.store.comparison_tables import CANDIDATE, Comparison, MetricInfo

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = "guidance scale of the baseline"
_BASELINE, _CANDIDATE = COLOURS[0], COLOURS[5]


@dataclass(frozen=True)
class ScorePoint:
    """A run on one metric: its guidance scale, its score, and the candidate's winning rate."""

    weight: float | None
    score: pd.Series  # value, low, high, reason
    rate: pd.Series | None = None


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


def against_best(curve: Comparison) -> tuple[str, str] | None:
    """The verdict against the baseline with the guidance that scores best on the first metric, and
    a sentence on it; None without scores."""
    metric = curve.metrics[0]
    _, points = _points(curve, metric)
    known = [p for p in points if p.rate is not None and not words.missing(p.score["value"])]
    if not known:
        return None
    best = known[best_at([float(p.score["value"]) for p in known], metric)]
    assert best.rate is not None
    score = words.estimate(best.score["value"], best.score["low"], best.score["high"])
    line = (
        f"At matched cost the baseline scores best on {words.label(metric)} with guidance "
        f"{words.scale(best.weight)}: {score}. The candidate scores better than that in "
        f"{words.rate(best.rate)} of pairs."
    )
    for verdict, told in (("wins", "beats"), ("loses", "loses to")):
        scales = [
            words.scale(p.weight)
            for p in known
            if p.rate is not None and p.rate["verdict"] == verdict
        ]
        line += f" It {told} guidance {words.joined(scales)}." if scales else ""
    return str(best.rate["verdict"]), f"{line} {PICKED}"


def curve_figures(curve: Comparison) -> list[Drawing]:
    """A figure a metric and set metric that has a score."""
    drawn = (_figure(curve, metric) for metric in [*curve.metrics, *set_metrics(curve)])
    return [one for one in drawn if one is not None]


def curve_table(curve: Comparison) -> Table:
    """The same in numbers: a row a guidance scale."""
    groups = []
    for metric in [*curve.metrics, *set_metrics(curve)]:
        candidate, points = _points(curve, metric)
        rows = [["candidate", *_cells(candidate)]]
        rows += [[f"baseline at {words.scale(p.weight)}", *_cells(p)] for p in points]
        groups.append(Group(words.label(metric), rows))
    columns = ["run", "NFE", "score", "candidate's winning rate", "wins / ties / losses"]
    columns += ["pairs (prompts)"]
    facts = [*curve.runs.values()]
    nfe = {role: words.count(run.cost.nfe) for role, run in curve.runs.items()}
    for group in groups:
        for row, role in zip(group.rows, _ordered(curve), strict=True):
            row.insert(1, nfe[role])
    return Table(
        f"Against the baseline's guidance scale, at the cost of {facts[0].sampler.name}",
        columns,
        groups,
        "Every baseline has the fewest steps that cost at least as much as the candidate. 95 % "
        "intervals over prompts.",
    )


def _cells(point: ScorePoint) -> list[str]:
    score = point.score
    shown = words.estimate(score["value"], score["low"], score["high"], score["reason"])
    if point.rate is None:
        return [shown, words.NONE, words.NONE, words.NONE]
    row = point.rate
    return [shown, words.rate(row), words.outcomes(row), words.pairs(row)]


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
    frame = curve.summary if paired else curve.set_scores
    frame = frame[frame["metric"] == metric.name].rename(columns={"mean": "value"})
    scores = frame.set_index("run").reindex(_ordered(curve))

    def point(role: str) -> ScorePoint:
        rate = curve.rate(role, metric.name) if paired and role != CANDIDATE else None
        return ScorePoint(weight(curve, role), scores.loc[role], rate)

    candidate, *baselines = map(point, _ordered(curve))
    return candidate, baselines


def _figure(curve: Comparison, metric: MetricInfo) -> Drawing | None:
    candidate, points = _points(curve, metric)
    known = [p for p in points if p.weight and not words.missing(p.score["value"])]
    if not known:
        return None
    rated = [p for p in known if p.rate is not None and not words.missing(p.rate["winning_rate"])]
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
    axes.plot(
        scales(points), [p.score["value"] for p in points], "-o", color=_BASELINE, markersize=4.5
    )
    sure = [p for p in points if not words.missing(p.score["low"])]
    low, high = ([float(p.score[end]) for p in sure] for end in ("low", "high"))
    axes.fill_between(scales(sure), low, high, color=_BASELINE, alpha=0.18, linewidth=0)
    if not words.missing(candidate.score["value"]):
        _candidate(axes, candidate)


def _candidate(axes: Axes, candidate: ScorePoint) -> None:
    value, low, high = (candidate.score[key] for key in ("value", "low", "high"))
    if candidate.weight is None:
        axes.axhline(value, color=_CANDIDATE, linestyle="--")
        return
    at = candidate.weight
    axes.plot([at], [value], "D", color=_CANDIDATE, markersize=7, markeredgecolor="white")
    if not words.missing(low):
        axes.plot([at, at], [low, high], color=_CANDIDATE, linewidth=1.6, zorder=1.9)


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
        rate, low, high = (p.rate[key] for key in ("winning_rate", "low", "high"))
        axes.plot(scales([p]), [100 * rate], "D", color=_CANDIDATE, markersize=5)
        if not words.missing(low):
            ends = [100 * low, 100 * high]
            axes.plot(2 * scales([p]), ends, color=_CANDIDATE, linewidth=1.4)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.set_ylabel("winning rate, %")


def scale_ticks(panels: Sequence[Axes], weights: Sequence[float]) -> None:
    """Labels at the scales that were run, as far as they do not run into each other."""
    from matplotlib.ticker import NullLocator

    shown: list[float] = []
    for value in sorted(weights):
        if not shown or value > 1.12 * shown[-1]:
            shown.append(value)
    for axes in panels:
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(shown, [words.scale(value) for value in shown])
        axes.tick_params(length=3, color="#bbb", labelsize=9, labelcolor=SOFT)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)


def _said(metric: MetricInfo, points: Sequence[ScorePoint]) -> str:
    parts = []
    for p in points:
        score = words.estimate(p.score["value"], p.score["low"], p.score["high"])
        won = "" if p.rate is None else f", winning rate of the candidate {words.rate(p.rate)}"
        parts.append(f"at {words.scale(p.weight)}: {score}{won}")
    return f"{metric.label} of the baseline by guidance scale: {'; '.join(parts)}"
