"""The report of a matrix: who beats whom as boards, then rankings, rates and differences."""

from __future__ import annotations

from collections.abc import Callable

from harness.reporting import category_words, words
from harness.reporting.board import BoardPage
from harness.reporting.matrix_board import duel_board, headline, lead, named
from harness.reporting.page import Page, RowGroup, Section, Table
from harness.store.comparison_tables import MetricInfo
from harness.store.matrix_table import Duel, MatrixTable

_HTML = "report/matrix.html"


def full(matrix: MatrixTable, out: str) -> BoardPage:
    """The whole report: who beats whom, rankings, winning rates and differences of all pairs."""
    shown = named(matrix)
    tables = [rankings(shown)]
    for metric in shown.metrics:
        tables += [
            _crossed(
                shown,
                metric,
                "Winning rate of the row over the column",
                _rate,
            ),
            _crossed(
                shown,
                metric,
                "Mean difference, row minus column",
                lambda duel: words.estimate(duel.difference, signed=True),
            ),
        ]
    names = {rank.category for rank in shown.ranks if rank.category}
    boards = [board for metric in shown.metrics if (board := duel_board(shown, metric))]
    return BoardPage(
        headline(shown),
        [Section("", [*tables, what_was_run(matrix, shown)])],
        lines=[category_words.speaks_of("prompts", len(names))],
        html=_HTML,
        text="matrix.md",
        over=f"Each of {len(shown.runs)} runs against each other one, from the same noise",
        lead=lead(shown),
        boards=boards[:1],
        folded=boards[1:],
    )


def what_was_run(matrix: MatrixTable, shown: MatrixTable) -> Table:
    """Each sampler with all parameters, and its name in the stored tables."""
    body = [
        [name, text, stored]
        for name, (stored, text) in zip(shown.runs, matrix.runs.items(), strict=True)
    ]
    columns = ["run", "sampler", "in the stored tables"]
    return Table("What was run", columns, [RowGroup("", body)], prose=frozenset(columns))


def brief(matrix: MatrixTable, out: str) -> Page:
    """The ranking on each metric over all categories."""
    shown = named(matrix)
    return Page("", [Section("", rankings(shown, whole=True).apart())], html=_HTML)


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
