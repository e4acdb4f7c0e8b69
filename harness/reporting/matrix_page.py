"""The report of a matrix: rankings, winning rates and differences as tables."""

from __future__ import annotations

from collections.abc import Callable

from harness.reporting import category_words, words
from harness.reporting.page import Page, RowGroup, Section, Table
from harness.store.comparison_tables import MetricInfo
from harness.store.matrix_table import Duel, MatrixTable

TITLE = "Each sampler against each other"
_HTML = "report/matrix.html"


def full(matrix: MatrixTable, out: str) -> Page:
    """The whole report: rankings, then winning rates and differences of all pairs."""
    shown = [rankings(matrix)]
    for metric in matrix.metrics:
        shown += [
            _crossed(
                matrix,
                metric,
                "Winning rate of the row over the column",
                _rate,
            ),
            _crossed(
                matrix,
                metric,
                "Mean difference, row minus column",
                lambda duel: words.estimate(duel.difference, signed=True),
            ),
        ]
    names = {rank.category for rank in matrix.ranks if rank.category}
    lines = [category_words.speaks_of("prompts", len(names))]
    return Page(TITLE, [Section("", shown)], lines=lines, html=_HTML, text="matrix.md")


def brief(matrix: MatrixTable, out: str) -> Page:
    """The ranking on each metric over all categories."""
    return Page("", [Section("", rankings(matrix, whole=True).apart())], html=_HTML)


def _rate(duel: Duel) -> str:
    """The rate, the pairs that are decided, and whether categories differ, a line each."""
    lines = [
        words.rate(duel.winning_rate),
        f"decided {category_words.decided_text(duel.decided_share, duel.decided)}",
    ]
    if duel.heterogeneity_p is not None:
        lines.append(f"categories differ: p {words.p_value(duel.heterogeneity_p)}")
    return "\n".join(lines)


def rankings(matrix: MatrixTable, whole: bool = False) -> Table:
    """Mean winning rates and strengths, best first, by metric and (unless `whole`) category."""
    groups = []
    for metric in matrix.metrics:
        ranks = [rank for rank in matrix.ranks if rank.metric == metric.name]
        categories = sorted({rank.category for rank in ranks if rank.category})
        for category in [None, *([] if whole else categories)]:
            rows = sorted(
                (rank for rank in ranks if rank.category == category),
                key=lambda rank: -(rank.winning_rate.value or 0),
            )
            title = words.label(metric) + ("" if category is None else f", {category}")
            body = [
                [
                    rank.run,
                    words.rate(rank.winning_rate),
                    words.estimate(rank.strength, signed=True),
                    f"{rank.winning_rate.n:,}",
                ]
                for rank in rows
            ]
            groups += [RowGroup(title, body)] if body else []
    return Table(
        "Mean winning rate over the other samplers, and strength",
        ["run", "mean winning rate", "strength (log)", "prompts"],
        groups,
        f"{words.TIES_COUNT}; 95 % intervals over prompts. Strength: Bradley and Terry's model "
        "with Davidson's ties, the mean of all 0, intervals by weighing prompts at random; two "
        "samplers whose strengths differ by d win with odds exp(d). Ranks are exploratory.",
    )


def _crossed(
    matrix: MatrixTable, metric: MetricInfo, caption: str, cell: Callable[[Duel], str]
) -> Table:
    """A square table over all categories, a row and a column for each sampler."""
    duels = [d for d in matrix.duels if d.metric == metric.name and d.category is None]
    cells = {(duel.a, duel.b): cell(duel) for duel in duels}
    names = [*matrix.runs]
    body = [[a, *(cells.get((a, b), "") for b in names)] for a in names]
    return Table(f"{caption}: {words.label(metric)}", ["", *names], [RowGroup("", body)])
