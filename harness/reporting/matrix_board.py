"""A matrix's boards: each sampler against each other one with verdicts, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.core.call import Call, parse_call, show_value
from harness.core.errors import HarnessError
from harness.reporting import words
from harness.reporting.board import (
    Board,
    BoardCell,
    BoardRow,
    count_cell,
    interval,
    legend,
    name_cell,
    rate_cell,
)
from harness.store.comparison_tables import MetricInfo
from harness.store.matrix_table import Duel, MatrixTable, Rank


def named(matrix: MatrixTable) -> MatrixTable:
    """The matrix with samplers' names for people in place of those it is stored with.

    A name is the sampler and its steps, or where several share these, the parameters that differ;
    runs that even so share a name (of other models) keep their stored one in it.
    """
    names = _names(matrix.runs)
    return replace(
        matrix,
        runs={names[name]: text for name, text in matrix.runs.items()},
        duels=[replace(duel, a=names[duel.a], b=names[duel.b]) for duel in matrix.duels],
        ranks=[replace(rank, run=names[rank.run]) for rank in matrix.ranks],
    )


def _names(runs: dict[str, str]) -> dict[str, str]:
    calls = {name: _call(text) for name, text in runs.items()}
    shown = {}
    for name, call in calls.items():
        alike = [other for other in calls.values() if other.name == call.name]
        differing = {
            key: value
            for key, value in call.params.items()
            if any(other.params.get(key) != value for other in alike)
        }
        about = [f"{key} {_shown(value)}" for key, value in differing.items()]
        if not about and "steps" in call.params:
            about = [f"{call.params['steps']} steps"]
        shown[name] = f"{call.name} ({', '.join(about)})" if about else call.name
    counts = [*shown.values()]
    return {
        name: text if counts.count(text) == 1 else f"{text}, {name}" for name, text in shown.items()
    }


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else show_value(value)


def _call(text: str) -> Call:
    try:
        return parse_call(text)
    except HarnessError:  # imported images name their sampler as they like
        return Call(text, {})


def ranked(matrix: MatrixTable, metric: MetricInfo) -> list[Rank]:
    """The samplers on a metric over all categories, the best first."""
    ranks = [r for r in matrix.ranks if r.metric == metric.name and r.category is None]
    return sorted(ranks, key=lambda rank: -(rank.winning_rate.value or 0))


def verdict(duel: Duel) -> str:
    """Whether the first of a pair wins: where the interval leaves out one half, and p < 0.05."""
    rate = duel.winning_rate
    if rate.value is None:
        return "undefined"
    if rate.ends is None or duel.p_value is None or duel.p_value >= 0.05:
        return "undecided"
    low, high = rate.ends
    return "wins" if low > 0.5 else "loses" if high < 0.5 else "undecided"


def duels_of(matrix: MatrixTable, name: str, metric: MetricInfo) -> dict[str, Duel]:
    """A sampler's duels on a metric over all categories, by the other's name."""
    return {
        duel.b: duel
        for duel in matrix.duels
        if (duel.a, duel.metric, duel.category) == (name, metric.name, None)
    }


def duel_board(matrix: MatrixTable, metric: MetricInfo) -> Board:
    """A row a sampler, the best first, and a column each other one."""
    ranks = ranked(matrix, metric)
    names = [rank.run for rank in ranks]
    rows = []
    for rank in ranks:
        duels = duels_of(matrix, rank.run, metric)
        cells = [_cell(duels.get(other)) for other in names]
        mean = rank.winning_rate
        about = BoardCell(words.percent(mean.value), words.bounds(mean), value=mean.value)
        strength = BoardCell(
            words.number(rank.strength.value, signed=True),
            interval(rank.strength, signed=True),
            value=rank.strength.value,
        )
        count = count_cell(mean.n)
        rows.append(BoardRow([name_cell(rank.run), about, strength, *cells, count]))
    columns = ["sampler", "mean winning rate", "strength (log)"]
    columns += [*(f"over {name}" for name in names), "prompts"]
    return Board(f"On {words.label(metric)}: how often the row beats the column", columns, rows)


def _cell(duel: Duel | None) -> BoardCell:
    if duel is None:
        return BoardCell("")
    told = f"{verdict(duel)}, {words.plural(duel.pairs, 'pair')}, p {words.equals(duel.p_value)}"
    return rate_cell(duel.winning_rate, verdict(duel), told)


def headline(matrix: MatrixTable) -> str:
    """Which sampler is first on the first metric, and how many of the others it beats."""
    metric = matrix.metrics[0]
    ranks = ranked(matrix, metric)
    if not ranks:
        return f"No sampler can be ranked on {metric.label}"
    first = ranks[0]
    found = [verdict(duel) for duel in duels_of(matrix, first.run, metric).values()]
    beaten = found.count("wins") or "none"
    return (
        f"{first.run} is first on {words.label(metric)}: it wins {words.rate(first.winning_rate)} "
        f"of pairs on average, and beats {beaten} of the other {len(found)}"
    )


def lead(matrix: MatrixTable) -> str:
    """What a cell is, and its signs."""
    found: Sequence[str] = [verdict(duel) for duel in matrix.duels]
    return (
        f"A cell is how often the row scores better than the column, {words.TIES}, with its 95 % "
        f"interval over prompts; ranks and verdicts are exploratory. {legend(found)}."
    )
