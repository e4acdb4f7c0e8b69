"""A report in the terminal: the columns that there is room for, then the verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reporting import page

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


def terminal(shown: page.Page) -> list[RenderableType]:
    """Tables under their captions, the title, then a line a verdict and sentence."""
    from rich.text import Text

    parts: list[RenderableType] = []
    for table in (table for section in shown.sections for table in section.tables):
        parts += [Text(table.caption, style="bold")] if table.caption else []
        parts.append(_table(table))
    parts += [Text(shown.title, style="bold")] if shown.title else []
    for one in shown.verdicts:
        style = _STYLES.get(one.verdict, "bold")
        line = Text(f"{one.setting}: {one.verdict}. ", style=style)
        parts.append(line.append(one.line, style="not bold default"))
    return parts + [Text(line, style="dim" if shown.verdicts else "") for line in shown.lines]


def _table(source: page.Table) -> Table:
    """A row's verdict, where there is no room for it, is the style of its second column."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    kept = [at for at, column in enumerate(source.columns) if column not in source.wide]
    told = source.columns.index("verdict") if "verdict" in source.wide else None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for at in kept:
        name = _SHORT.get(source.columns[at], source.columns[at])
        table.add_column(name, justify="right" if at else "left", overflow="fold")
    for row in (row for group in source.groups for row in group.rows):
        style = "" if told is None else _STYLES.get(row[told], "")
        table.add_row(*[Text(row[at], style=style if at == 1 else "") for at in kept])
    return table
