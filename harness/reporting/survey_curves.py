"""A survey's candidates against the baseline's guidance curve at each one's matched cost."""

from __future__ import annotations

import math

from harness.reporting import category_words, words
from harness.reporting.curve import (
    ACROSS,
    UNKNOWN,
    UNTUNED,
    Curve,
    ScorePoint,
    draw_scores,
    scale_ticks,
    scales,
)
from harness.reporting.drawing import Drawing, cut, new_figure
from harness.reporting.page import Table, by_metric
from harness.store import files
from harness.store.comparison_tables import MetricInfo
from harness.store.curve_rule import GUIDANCE_CURVE
from harness.store.survey_table import Point, Rate, Row, SurveyTable

_COLUMNS = 2


def along_curves(survey: SurveyTable) -> Table:
    """A row a candidate: the baseline's best mean, and the winning rate over its best guidance."""

    def rows(metric: MetricInfo) -> list[list[str]]:
        curves = [(row, _curve(row, metric)) for row in survey.rows]
        return [_cells(row, curve, curve.best) for row, curve in curves if curve.best]

    return Table(
        "Against the best guidance of the baseline at equal cost",
        [
            "run",
            "score",
            "best of the baseline",
            "at guidance",
            "winning rate",
            "over",
            "p",
            "beats",
            "loses to",
        ],
        by_metric(survey.metrics, rows),
        "The best of the baseline is that of its means, of these images. The winning rate is over "
        "the guidance that one half of the prompts picks, judged on the other half (cross-fitted, "
        "where that is the primary result), or else the smallest over all weights, with the "
        "largest p; a candidate that beats every weight wins, and one that a weight beats by "
        f"Holm's correction over all loses. {UNTUNED}",
        frozenset({"over", "beats", "loses to"}),
    )


def curves(survey: SurveyTable) -> list[Drawing]:
    """A figure for each metric: a panel a candidate, with its baseline's curve."""
    figures = []
    for metric in survey.metrics:
        curves = [(row.label, _curve(row, metric)) for row in survey.rows]
        if drawn := [(label, curve) for label, curve in curves if len(curve.drawn) > 1]:
            figures.append(_figure(metric, drawn))
    return figures


def _curve(row: Row, metric: MetricInfo) -> Curve:
    """The curve of a row, from its points that have a score on the metric."""
    points = [
        ScorePoint(point.weight, score, _rate(point, metric))
        for point in sorted(row.curve, key=lambda point: point.weight)
        if (score := point.scores.get(metric.name)) is not None and score.value is not None
    ]
    own = row.scores.get(metric.name, UNKNOWN)
    return Curve(metric, ScorePoint(row.guidance, own), points)


def _rate(point: Point, metric: MetricInfo) -> Rate | None:
    return next((rate for rate in point.rates if rate.metric == metric.name), None)


def _cells(row: Row, curve: Curve, best: ScorePoint) -> list[str]:
    rate = row.rate(GUIDANCE_CURVE, curve.metric.name)
    rule = next((rule for rule in row.curve_rules if rule.metric == curve.metric.name), None)
    by_weight = (rule.against, rule.beaten, rule.lost) if rule else ([], [], [])
    over, beaten, lost = (", ".join(dict.fromkeys(names)) or words.NONE for names in by_weight)
    return [
        row.label,
        words.estimate(curve.own.score),
        words.estimate(best.score),
        words.scale(best.weight),
        f"{words.rate(rate.winning_rate)} {rate.verdict}{category_words.decided_line(rate)}"
        if rate
        else words.NONE,
        over + (" (cross-fitted)" if rule and rule.crossed else ""),
        words.p_value(rate.p_value) if rate else words.NONE,
        beaten,
        lost,
    ]


def _figure(metric: MetricInfo, shown: list[tuple[str, Curve]]) -> Drawing:
    lines = math.ceil(len(shown) / _COLUMNS)
    with new_figure(0.4 + 1.75 * lines, 6.4) as figure:
        panels = figure.subplots(lines, _COLUMNS, sharex=True, sharey="row", squeeze=False)
        for axes, (label, curve) in zip(panels.flat, shown, strict=False):
            axes.set_xscale("log")
            draw_scores(axes, curve)
            axes.set_title(cut(label, 40), size=9, loc="left")
        for axes in panels.flat[len(shown) :]:
            axes.set_visible(False)
        scale_ticks([*panels.flat], [w for _, curve in shown for w in scales(curve.drawn)])
        figure.supylabel(words.label(metric), size=9.5)
        figure.supxlabel(ACROSS, size=9)
    caption = (
        f"{words.label(metric)} of the baseline (dots, band: 95 % interval) against its guidance "
        "scale at each candidate's cost, and the candidate (diamond) at its own scale; dashed "
        "across where it has none."
    )
    spoken = f"{metric.label}: {'; '.join(_spoken(label, curve) for label, curve in shown)}"
    return Drawing(files.file_name("curves", metric.name), figure, spoken, caption)


def _spoken(label: str, curve: Curve) -> str:
    at = (f"{words.scale(p.weight)}: {words.number(p.score.value)}" for p in curve.points)
    return f"{label} {words.estimate(curve.own.score)}, baseline at guidance {', '.join(at)}"
