"""A report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.reporting.page import Page, Table


def markdown(page: Page) -> str:
    """The page as Markdown text: verdicts, remarks, all tables, and links to the figures' files."""
    lines = [f"# {escape(page.title)}", ""]
    lines += [escape(page.subtitle), ""] if page.subtitle else []
    lines += _first(page)
    for verdict in page.verdicts:
        line = escape(f"{verdict.line} {verdict.others}")
        lines.append(f"- **{escape(verdict.where)}: {verdict.verdict}.** {line}")
    lines += [f"- {escape(line)}" for line in page.lines]
    lines += ["", "Each candidate's own report:", ""] if page.links else []
    lines += [f"- [{escape(text)}]({name}/report.md)" for text, name in page.links.items()]
    for section in page.sections:
        lines += ["", f"## {escape(section.title)}"] if section.title else []
        for drawing in section.figures:
            lines += ["", f"![{escape(drawing.caption)}]({page.place}figures/{drawing.name}.svg)"]
        level = 3 if section.title else 2
        lines += [_table(table, level) for table in [*section.tables, *section.details]]
    commands = [command for section in page.sections for command in section.commands]
    lines += ["", "```", *commands, "```"] if commands else []
    return "\n".join(lines) + "\n"


def _first(page: Page) -> list[str]:
    """The forest plot as a table, and where its figures are."""
    if page.first is None:
        return []
    figures = [
        f"{drawing.caption} "
        + " ".join(f"[{k.upper()}]({page.place}figures/{drawing.name}.{k})" for k in drawing.kinds)
        for drawing in page.exports
    ]
    drawn = f"As a figure of its own: {'; '.join(figures)}."
    return [_table(page.first.forest.table, 2).strip(), "", drawn, ""]


def _table(table: Table, level: int) -> str:
    """A table with its caption as heading; a group's title is a row of its own in bold."""
    width = len(table.columns)
    rules = [":--" if at == 0 or c in table.prose else "--:" for at, c in enumerate(table.columns)]
    lines = ["", f"{'#' * level} {escape(table.caption)}", ""]
    lines += [_row(map(_cell, table.columns)), _row(rules)]
    for group in table.groups:
        if group.title:
            lines.append(_row([f"**{escape(group.title)}**"] + [""] * (width - 1)))
        lines += [_row(map(_cell, row)) for row in group.rows]
    lines += ["", escape(table.note)] if table.note else []
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return "<br>".join(map(escape, text.split("\n")))


def escape(text: str) -> str:
    """Text on one line with the special characters of Markdown and HTML escaped."""
    text = re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", " ".join(text.split()))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
