"""The answer in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report import tables, words
from harness.store.comparison import Comparison

if TYPE_CHECKING:
    from rich.console import RenderableType

_SHORT = {"wins / ties / losses": "W / T / L", "pairs (prompts)": "n (prompts)"}
_STYLES = {"wins": "bold green", "loses": "bold red", "undecided": "bold yellow"}


def console_tables(comparison: Comparison) -> list[RenderableType]:
    """A title and a table a comparison, then a verdict line each and what was left out."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown: list[RenderableType] = []
    source = tables.winning_rates(comparison)
    kept = [at for at, column in enumerate(source.columns) if column not in ("p", "verdict")]
    verdict = source.columns.index("verdict")
    for group in source.groups:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for at in kept:
            column = source.columns[at]
            table.add_column(_SHORT.get(column, column), justify="right" if at else "left")
        for row in group.rows:
            style = _STYLES.get(row[verdict], "")
            table.add_row(*[Text(row[at], style=style if at == 1 else "") for at in kept])
        shown += [Text(group.title, style="bold"), table]
    for role in comparison.baselines:
        said = str(comparison.rate(role, comparison.metrics[0].name)["verdict"])
        line = Text(f"{words.setting(role)}: {said}. ", style=_STYLES.get(said, "bold"))
        shown.append(line.append(words.verdict_line(comparison, role), style="not bold default"))
    shown.extend(Text(line, style="dim") for line in words.remarks(comparison))
    return shown
