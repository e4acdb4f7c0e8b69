"""A comparison as a page, as Markdown and in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.store import files
from harness.store.comparison_tables import CURVE, Comparison, holds_comparison, load_comparison

if TYPE_CHECKING:
    from rich.console import RenderableType

    from harness.reporting.content import Content


def write_report(comparison: Comparison, out: str) -> str:
    """Write `report/` and `report.md` below `out`; returns the path of `report/index.html`.

    Beside the page: `figures/` as SVG and PDF, `tables/` as LaTeX and, with all digits, as CSV.
    The page is one file that opens from a disk without a network. The runs' pictures are read from
    where the comparison found them, its guidance curve from `curve/` below `out`, if there is one
    of the same images.
    """
    from harness.reporting.content import content
    from harness.reporting.drawing import write_drawings
    from harness.reporting.markdown import markdown
    from harness.reporting.page import html_page

    found = content(comparison, _curve(out))
    page = files.join(out, "report", "index.html")
    files.write_text(page, html_page(found))
    files.write_text(files.join(out, "report.md"), markdown(found))
    write_drawings(found.drawings, files.join(out, "report", "figures"))
    _write_tables(found, files.join(out, "report", "tables"))
    return page


def _write_tables(found: Content, folder: str) -> None:
    from harness.reporting.latex import latex_tables

    comparison = found.comparison
    frames = {"winning_rates": comparison.rates, "scores": comparison.summary}
    frames |= {"set_scores": comparison.set_scores} if len(comparison.set_scores) else {}
    if found.along is not None:
        frames |= {"curve_winning_rates": found.along.rates, "curve_scores": found.along.summary}
    for name, frame in frames.items():
        files.write_text(files.join(folder, f"{name}.csv"), frame.to_csv(index=False))
    for name, text in latex_tables(comparison).items():
        files.write_text(files.join(folder, name), text)


def _curve(out: str) -> Comparison | None:
    folder = files.join(out, CURVE)
    if not holds_comparison(folder):
        return None
    return load_comparison(folder)


def console_tables(comparison: Comparison, out: str) -> list[RenderableType]:
    """What to print at the end of a benchmark: a table a comparison, then a verdict line each.

    `out` as of `write_report`.
    """
    from harness.reporting import console, curve

    along = _curve(out)
    fits = along is not None and curve.fits(comparison, along)
    return console.console_tables(comparison, curve.against_best(along) if along and fits else None)
