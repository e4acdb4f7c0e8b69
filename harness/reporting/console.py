"""The answer in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reporting import run_tables, tables, words
from harness.reporting.headline import headline
from harness.store.comparison_tables import Comparison

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_SHORT = {"wins / ties / losses": "W / T / L", "pairs (prompts)": "n (prompts)"}
_STYLES = {
    "wins": "bold green",
    "loses": "bold red",
    "undecided": "bold yellow",
    "equivalent": "bold blue",
}


def console_tables(
    comparison: Comparison, against_best: tuple[str, str] | None = None
) -> list[RenderableType]:
    """Winning rates a comparison, set scores, then a verdict line each and what was left out.

    `against_best`: verdict and sentence on the best of the guidance curve, if there is one.
    """
    from rich.text import Text

    shown: list[RenderableType] = []
    if grid := tables.two_by_two(comparison):
        shown += [Text(grid.caption, style="bold"), *_costs(comparison), *_grid(grid)]
    else:
        shown += _rates(tables.winning_rates(comparison))
    if sets := tables.set_scores(comparison):
        kept = [
            at
            for at, column in enumerate(sets.columns)
            if column in ("run", "value", "A - B", "images")
        ]
        for group in sets.groups:
            table = _table(sets, group, kept, [""] * len(group.rows))
            shown += [Text(f"{group.title} of the whole run", style="bold"), table]
    shown.append(Text(headline(comparison, against_best and against_best[0]), style="bold"))
    told = [
        (
            words.also(comparison, role),
            str(comparison.rate(role, comparison.metrics[0].name)["verdict"]),
            words.verdict_line(comparison, role),
        )
        for role in words.primary_first(comparison)
    ]
    if against_best:
        told.insert(1, ("best of the guidance curve", *against_best))
    for where, said, sentence in told:
        line = Text(f"{where}: {said}. ", style=_STYLES.get(said, "bold"))
        shown.append(line.append(sentence, style="not bold default"))
    shown.extend(Text(line, style="dim") for line in words.remarks(comparison))
    return shown


def _costs(comparison: Comparison) -> list[RenderableType]:
    """What an image cost, without what a terminal has no room for."""
    costs = run_tables.costs(comparison)
    (group,) = costs.groups
    left_out = ("sampler", "as pairs", "official count", "sigma")
    kept = [at for at, column in enumerate(costs.columns) if column not in left_out]
    return [_table(costs, group, kept, [""] * len(group.rows))]


def _grid(grid: tables.Table) -> list[RenderableType]:
    """Winning rates by cost and guidance, a small table a metric."""
    kept = list(range(len(grid.columns)))
    shown: list[RenderableType] = []
    for group in grid.groups:
        titled = tables.Table("", [group.title, *grid.columns[1:]], [group])
        shown.append(_table(titled, group, kept, [""] * len(group.rows)))
    return shown


def _rates(rates: tables.Table) -> list[RenderableType]:
    """A table a comparison."""
    from rich.text import Text

    verdict = rates.columns.index("verdict")
    kept = [at for at, column in enumerate(rates.columns) if column not in ("p", "verdict")]
    shown: list[RenderableType] = []
    for group in rates.groups:
        styles = [_STYLES.get(row[verdict], "") for row in group.rows]
        shown += [Text(group.title, style="bold"), _table(rates, group, kept, styles)]
    return shown


def plain_table(source: tables.Table) -> Table:
    """All columns of a table of one group."""
    (group,) = source.groups
    kept = list(range(len(source.columns)))
    return _table(source, group, kept, [""] * len(group.rows))


def _table(source: tables.Table, group: tables.Group, kept: list[int], styles: list[str]) -> Table:
    """The kept columns of a group; `styles` are those of its rows' second column."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for at in kept:
        column = source.columns[at]
        table.add_column(
            _SHORT.get(column, column), justify="right" if at else "left", overflow="fold"
        )
    for row, style in zip(group.rows, styles, strict=True):
        table.add_row(*[Text(row[at], style=style if at == 1 else "") for at in kept])
    return table
