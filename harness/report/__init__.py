"""A comparison as a page, as Markdown and in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.store import files
from harness.store.comparison import CURVE, Comparison, load_comparison

if TYPE_CHECKING:
    from rich.console import RenderableType


def write_report(comparison: Comparison, out: str) -> str:
    """Write `report/` and `report.md` below `out`; returns the path of `report/index.html`.

    The page is one file that opens from a disk without a network. The runs' pictures are read from
    where the comparison found them, its guidance curve from `curve/` below `out`, if there is one
    of the same images.
    """
    from harness.report.content import content
    from harness.report.markdown import markdown
    from harness.report.page import html_page

    found = content(comparison, _curve(out))
    page = files.join(out, "report", "index.html")
    files.write_text(page, html_page(found))
    files.write_text(files.join(out, "report.md"), markdown(found))
    for drawing in found.drawings:
        for kind, data in (("svg", drawing.svg()), ("pdf", drawing.pdf())):
            files.write_bytes(files.join(out, "report", "figures", f"{drawing.name}.{kind}"), data)
    return page


def _curve(out: str) -> Comparison | None:
    folder = files.join(out, CURVE)
    if not files.exists(files.join(folder, "compare", "comparison.json")):
        return None
    return load_comparison(folder)


def console_tables(comparison: Comparison) -> list[RenderableType]:
    """What to print at the end of a benchmark: a table a comparison, then a verdict line each."""
    from harness.report import console

    return console.console_tables(comparison)
