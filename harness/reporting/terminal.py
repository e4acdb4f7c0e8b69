"""A report for the terminal, as rich renderables: tables of few columns, then the verdicts."""

from __future__ import annotations

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from harness.reporting import page

_SHORT = {"wins / ties / losses": "W / T / L", "pairs (prompts)": "n (prompts)"}
STYLES = {
    "wins": "bold green",
    "loses": "bold red",
    "undecided": "bold yellow",
    "equivalent": "bold blue",
    "better": "bold green",
    "worse": "bold red",
}
"""Of verdicts."""


def terminal(shown: page.Page) -> list[RenderableType]:
    """Tables under their captions, the title, then a line for each verdict and remark."""
    parts: list[RenderableType] = []
    for table in (table for section in shown.sections for table in section.tables):
        parts += [Text(table.caption, style="bold")] if table.caption else []
        parts.append(_table(table))
    parts += [Text(shown.title, style="bold")] if shown.title else []
    for one in shown.verdicts:
        style = STYLES.get(one.verdict, "bold")
        line = Text(f"{one.setting}: {one.verdict}. ", style=style)
        parts.append(line.append(one.line, style="not bold default"))
    return parts + [Text(line, style="dim" if shown.verdicts else "") for line in shown.lines]


def _table(source: page.Table) -> Table:
    """A table without its wide columns; a left-out verdict is the style of the second column."""
    kept = [at for at, column in enumerate(source.columns) if column not in source.wide]
    verdict = source.columns.index("verdict") if "verdict" in source.wide else None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for at in kept:
        name = _SHORT.get(source.columns[at], source.columns[at])
        table.add_column(name, justify="right" if at else "left", overflow="fold")
    for row in (row for group in source.groups for row in group.rows):
        style = "" if verdict is None else STYLES.get(row[verdict], "")
        table.add_row(*[Text(row[at], style=style if at == 1 else "") for at in kept])
    return table
