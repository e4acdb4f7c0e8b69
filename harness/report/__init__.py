"""A comparison as a page, as Markdown and in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.store import files
from harness.store.comparison import Comparison

if TYPE_CHECKING:
    from rich.console import RenderableType


def write_report(comparison: Comparison, out: str) -> str:
    """Write `report/index.html` and `report.md` below `out`; returns the page's path.

    The page is one file that opens from a disk without a network. The runs' pictures are read from
    where the comparison found them.
    """
    from harness.report.markdown import markdown
    from harness.report.page import html_page

    page = files.join(out, "report", "index.html")
    files.write_text(page, html_page(comparison))
    files.write_text(files.join(out, "report.md"), markdown(comparison))
    return page


def console_tables(comparison: Comparison) -> list[RenderableType]:
    """What to print at the end of a benchmark: a table a comparison, then a verdict line each."""
    from harness.report import console

    return console.console_tables(comparison)
