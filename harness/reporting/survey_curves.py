"""A survey's candidates beside the baseline's guidance curve, each at its own matched cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.reporting import words
from harness.reporting.curve import (
    ACROSS,
    PICKED,
    UNKNOWN,
    ScorePoint,
    best_at,
    draw_scores,
    scale_ticks,
    scales,
)
from harness.reporting.drawing import Drawing, cut, new_figure
from harness.reporting.page import Table, by_metric
from harness.store import files
from harness.store.comparison_tables import MetricInfo
from harness.store.survey_table import Point, Rate, Row, Survey

_COLUMNS = 2


def along_curves(survey: Survey) -> Table | None:
    """The baseline with the guidance that scores best, and the candidate's winning rate over it."""
    groups = by_metric(
        survey.metrics,
        lambda metric: [_cells(row, metric) for row in survey.rows if _points(row, metric)],
    )
    columns = ["run", "score", "best of the baseline", "at guidance", "winning rate over it"]
    columns += ["guidance that it beats", "guidance that it loses to"]
    note = f"The baseline at the candidate's cost, by guidance. {PICKED}"
    title = "Against the best of the baseline's guidance curve"
    return Table(title, columns, groups, note) if groups else None


def against_best(survey: Survey) -> dict[str, list[str]]:
    """Who beats the best of the curve on the headline metric and who does not, by verdict."""
    metric = survey.metric(survey.headline or "")
    said: dict[str, list[str]] = {}
    for row in survey.rows:
        if points := _points(row, metric):
            verdict = _verdict(_best(points, metric), metric)
            if verdict is not None:
                said.setdefault(verdict, []).append(row.label)
    return said


def curves(survey: Survey) -> list[Drawing]:
    """A figure a metric: a panel a candidate, with its baseline's curve."""
    drawn = (_figure(survey, metric) for metric in survey.metrics)
    return [one for one in drawn if one is not None]


def _points(row: Row, metric: MetricInfo) -> list[Point]:
    """Those of the row's curve that have a score on the metric, by guidance."""
    known = [
        p for p in row.curve if (s := p.scores.get(metric.name)) is not None and s.value is not None
    ]
    return sorted(known, key=lambda point: point.weight)


def _best(points: Sequence[Point], metric: MetricInfo) -> Point:
    scores = (point.scores[metric.name].value for point in points)
    return points[best_at([value for value in scores if value is not None], metric)]


def _rate(point: Point, metric: MetricInfo) -> Rate | None:
    return next((rate for rate in point.rates if rate.metric == metric.name), None)


def _verdict(point: Point, metric: MetricInfo) -> str | None:
    rate = _rate(point, metric)
    return None if rate is None else rate.verdict


def _cells(row: Row, metric: MetricInfo) -> list[str]:
    points = _points(row, metric)
    best = _best(points, metric)
    rate = _rate(best, metric)
    told = f"{words.rate(rate.winning_rate)} {rate.verdict}" if rate else words.NONE
    by_verdict = {
        verdict: [words.scale(p.weight) for p in points if _verdict(p, metric) == verdict]
        for verdict in ("wins", "loses")
    }
    return [
        row.label,
        words.estimate(row.scores.get(metric.name)),
        words.estimate(best.scores[metric.name]),
        words.scale(best.weight),
        told,
        *(", ".join(found) or words.NONE for found in by_verdict.values()),
    ]


def _figure(survey: Survey, metric: MetricInfo) -> Drawing | None:
    shown = [(row, points) for row in survey.rows if len(points := _drawn(row, metric)) > 1]
    if not shown:
        return None
    lines = math.ceil(len(shown) / _COLUMNS)
    with new_figure(0.4 + 1.75 * lines, 6.4) as figure:
        panels = figure.subplots(lines, _COLUMNS, sharex=True, sharey="row", squeeze=False)
        for axes, (row, points) in zip(panels.flat, shown, strict=False):
            own = ScorePoint(row.guidance, row.scores.get(metric.name, UNKNOWN))
            axes.set_xscale("log")
            draw_scores(axes, own, points)
            axes.set_title(cut(row.label, 40), size=9, loc="left")
        for axes in panels.flat[len(shown) :]:
            axes.set_visible(False)
        scale_ticks([*panels.flat], [w for _, points in shown for w in scales(points)])
        figure.supylabel(words.label(metric), size=9.5)
        figure.supxlabel(ACROSS, size=9)
    caption = (
        f"{words.label(metric)} of the baseline (dots, band: 95 % interval) against its guidance "
        "scale at each candidate's cost, and the candidate (diamond) at its own scale; dashed "
        "across where it has none."
    )
    name = files.file_name("curves", metric.name)
    return Drawing(name, figure, _spoken([row for row, _ in shown], metric), caption)


def _drawn(row: Row, metric: MetricInfo) -> list[ScorePoint]:
    """The curve's points that have a place on a logarithmic axis."""
    points = [p for p in _points(row, metric) if p.weight]
    return [ScorePoint(p.weight, p.scores[metric.name]) for p in points]


def _spoken(rows: Sequence[Row], metric: MetricInfo) -> str:
    parts = []
    for row in rows:
        at = ", ".join(
            f"{words.scale(p.weight)}: {words.number(p.scores[metric.name].value)}"
            for p in _points(row, metric)
        )
        own = words.estimate(row.scores.get(metric.name))
        parts.append(f"{row.label} {own}, baseline at guidance {at}")
    return f"{metric.label}: {'; '.join(parts)}"
