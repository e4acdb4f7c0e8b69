"""A survey's boards: samplers by comparisons with verdicts, and samplers by metrics with scores."""

from __future__ import annotations

from collections.abc import Mapping

from harness.reporting import category_words, words
from harness.reporting.board import (
    Board,
    BoardCell,
    BoardRow,
    count_cell,
    name_cell,
    rate_cell,
    score_cell,
)
from harness.reporting.points import UNITS
from harness.store.comparison_tables import BEST_OF, MetricInfo
from harness.store.curve_rule import GUIDANCE_CURVE
from harness.store.survey_table import Rate, Row, SurveyTable

SETTINGS = (
    "own",
    "matched guidance",
    "matched cost",
    "matched cost and guidance",
    BEST_OF,
    GUIDANCE_CURVE,
)
"""Of comparisons, the least fair first."""


def settings(survey: SurveyTable) -> list[str]:
    """The settings of comparison that any candidate was compared at, the least fair first."""
    made = {rate.setting for row in survey.rows for rate in row.rates}
    return [setting for setting in SETTINGS if setting in made]


def decisive(survey: SurveyTable, metric: str) -> str | None:
    """The setting that was declared to decide, or the fairest; None where nothing was compared."""
    rates = [rate for row in survey.rows for rate in row.rates if rate.metric == metric]
    known = {rate.setting for rate in rates}
    primary = {rate.setting for rate in rates if rate.role == "primary"}
    fair = [one for one in SETTINGS if one in (primary or known - {BEST_OF} or known)]
    return fair[-1] if fair else None


def verdict_board(survey: SurveyTable, metric: MetricInfo, links: Mapping[str, str]) -> Board:
    """A row a candidate and a column a comparison, on one metric, with scores and cost.

    `links` leads from labels to the pages of the candidates' pairs.
    """
    shown = [one for one in settings(survey) if any(r.rate(one, metric.name) for r in survey.rows)]
    rows = [
        BoardRow(
            [
                name_cell(row.label),
                *(_verdict(row, setting, metric) for setting in shown),
                count_cell(row.nfe),
                score_cell(row.scores.get(metric.name)),
            ],
            links.get(row.label),
        )
        for row in survey.rows
        if any(rate.metric == metric.name for rate in row.rates)
    ]
    declared = {
        words.setting(rate.setting)
        for row in survey.rows
        for rate in row.rates
        if rate.role == "primary" and rate.metric == metric.name
    }
    names = [words.setting(setting) for setting in shown]
    columns = ["sampler", *names, "NFE", f"score, {words.label(metric)}"]
    return Board(f"On {words.label(metric)}", columns, rows, declared=frozenset(declared))


def _verdict(row: Row, setting: str, metric: MetricInfo) -> BoardCell:
    rate = row.rate(setting, metric.name)
    if rate is None:
        return BoardCell(words.NONE, told=row.absent.get(setting, ""))
    return rate_cell(rate.winning_rate, rate.verdict, _told(row, rate))


def _told(row: Row, rate: Rate) -> str:
    """What stands behind a cell, as text."""
    parts = [f"{rate.verdict}, {words.plural(rate.pairs, 'pair')}"]
    if rate.p_holm is not None:
        parts.append(f"p (Holm) {words.equals(rate.p_holm)}")
    elif rate.p_value is not None:
        parts.append(f"p {words.equals(rate.p_value)}")
    if rate.nfe is not None:
        parts.append(f"NFE {words.count(row.nfe)} against {words.count(rate.nfe)}")
    if decided := category_words.decided_line(rate).strip():
        parts.append(decided)
    return "; ".join(parts)


def score_board(survey: SurveyTable) -> Board:
    """A row a run and a column a metric, the best on the first metric first."""
    first, *_ = survey.metrics
    rows = sorted(survey.rows, key=lambda row: _rank(row, first))
    columns = ["sampler", "NFE", "guidance scale", *map(words.label, survey.metrics)]
    front = any(first.name in row.dominated_by for row in rows)
    body = [
        BoardRow(
            [
                name_cell(row.label),
                count_cell(row.nfe),
                BoardCell(words.scale(row.guidance), value=row.guidance),
                *(_score(row, metric) for metric in survey.metrics),
                *([_front(row, first)] if front else []),
            ]
        )
        for row in rows
    ]
    note = (
        f"95 % intervals. ★ best, ☆ not told apart from the best, all runs judged at once. Pareto "
        f"front: no other run costs no more and scores no worse on {words.label(first)}; in "
        f"brackets how often, prompts drawn anew. Cost: {UNITS[survey.unit]}."
    )
    note += "".join(f" {words.NONE}: {reason}." for reason in reasons(survey))
    columns += ["Pareto front"] if front else []
    return Board("Scores of all runs", columns, body, note if front else "")


def reasons(survey: SurveyTable) -> list[str]:
    """Why scores are undefined, each once."""
    scores = [score for row in survey.rows for score in row.scores.values()]
    return sorted({score.reason for score in scores if score.value is None and score.reason})


def _rank(row: Row, metric: MetricInfo) -> float:
    score = row.scores.get(metric.name)
    return float("inf") if score is None or score.value is None else -metric.sign * score.value


def _score(row: Row, metric: MetricInfo) -> BoardCell:
    score = row.scores.get(metric.name)
    return score_cell(score, (score.standing if score else None) or "")


def _front(row: Row, metric: MetricInfo) -> BoardCell:
    """Whether a run is on the Pareto front, and in which share of resamples."""
    if metric.name not in row.dominated_by:
        return BoardCell(words.NONE)
    over, share = row.dominated_by[metric.name], row.front_share.get(metric.name)
    often = "" if share is None else f"({100 * share:.0f}{words.SPACE}%)"
    place = (share or 0.0) + (over is None)
    told = f"as cheap and as good or better: {over}" if over else ""
    return BoardCell("no" if over else "yes", often, value=place, told=told)
