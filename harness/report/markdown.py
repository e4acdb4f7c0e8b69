"""The same tables in Markdown."""

from __future__ import annotations

import re

from harness.report import tables, words
from harness.report.tables import Table
from harness.store.comparison import Comparison


def markdown(comparison: Comparison) -> str:
    """`report.md`: verdict, what was run, all tables."""
    title = words.headline(comparison)
    lines = [f"# {escape(title[:1].upper() + title[1:])}", ""]
    for role in comparison.baselines:
        more = words.other_metrics(comparison, role)
        said = comparison.rate(role, comparison.metrics[0].name)["verdict"]
        line = f"{words.verdict_line(comparison, role)} {more}".strip()
        lines.append(f"- **{escape(words.setting(role))}: {said}.** {escape(line)}")
    lines += [f"- {escape(line)}" for line in words.remarks(comparison)]
    shown = [
        tables.costs(comparison),
        tables.winning_rates(comparison),
        tables.effects(comparison),
        tables.scores(comparison),
        tables.set_scores(comparison),
        *(tables.categories(comparison, metric) for metric in comparison.metrics),
        tables.runs(comparison),
    ]
    lines += [table_lines(table) for table in shown if table]
    if comparison.commands:
        lines += ["", "```", *comparison.commands, "```"]
    return "\n".join(lines) + "\n"


def table_lines(table: Table) -> str:
    """A table with its caption as heading; a group's title is a row of its own in bold."""
    width = len(table.columns)
    rules = [":--" if at == 0 or c in table.prose else "--:" for at, c in enumerate(table.columns)]
    lines = ["", f"## {escape(table.caption)}", "", _row(table.columns), _row(rules, safe=True)]
    for group in table.groups:
        if group.title:
            lines.append(_row([f"**{escape(group.title)}**"] + [""] * (width - 1), safe=True))
        lines += [_row(row) for row in group.rows]
    if table.note:
        lines += ["", escape(table.note)]
    return "\n".join(lines)


def _row(cells: list[str], safe: bool = False) -> str:
    return "| " + " | ".join(cells if safe else map(escape, cells)) + " |"


def escape(text: str) -> str:
    """Text that Markdown and HTML in it leave as it is, on one line."""
    text = re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", " ".join(text.split()))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
