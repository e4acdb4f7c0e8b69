"""The same tables in Markdown."""

from __future__ import annotations

import re

from harness.reporting.content import Content
from harness.reporting.tables import Table


def markdown(content: Content) -> str:
    """`report.md`: verdict, what was run, all tables; figures are named by their files."""
    comparison = content.comparison
    lines = [f"# {escape(content.title)}", ""]
    for verdict in content.verdicts:
        said = f"{verdict.line} {verdict.others}".strip()
        lines.append(f"- **{escape(verdict.setting)}: {verdict.verdict}.** {escape(said)}")
    lines += [f"- {escape(line)}" for line in content.remarks]
    for section in content.sections:
        lines += ["", f"## {escape(section.title)}"]
        for drawing in section.figures:
            lines += ["", f"![{escape(drawing.caption)}](report/figures/{drawing.name}.svg)"]
        lines += [table_lines(table, 3) for table in [*section.tables, *section.details]]
    if comparison.commands:
        lines += ["", "```", *comparison.commands, "```"]
    return "\n".join(lines) + "\n"


def table_lines(table: Table, level: int = 2) -> str:
    """A table with its caption as heading; a group's title is a row of its own in bold."""
    width = len(table.columns)
    rules = [":--" if at == 0 or c in table.prose else "--:" for at, c in enumerate(table.columns)]
    lines = [
        "",
        f"{'#' * level} {escape(table.caption)}",
        "",
        _row(table.columns),
        _row(rules, safe=True),
    ]
    for group in table.groups:
        if group.title:
            lines.append(_row([f"**{escape(group.title)}**"] + [""] * (width - 1), safe=True))
        lines += [_row(row) for row in group.rows]
    if table.note:
        lines += ["", escape(table.note)]
    return "\n".join(lines)


def _row(cells: list[str], safe: bool = False) -> str:
    return "| " + " | ".join(cells if safe else map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    return "<br>".join(map(escape, text.split("\n")))


def escape(text: str) -> str:
    """Text that Markdown and HTML in it leave as it is, on one line."""
    text = re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", " ".join(text.split()))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
