"""Reports of comparisons, surveys and matrices: HTML page, Markdown, terminal, LaTeX, CSV."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

from harness.store import files
from harness.store.comparison_tables import ComparisonTables, load_comparison
from harness.store.matrix_table import MatrixTable
from harness.store.survey_table import SurveyTable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from harness.reporting.page import Page

Reported: TypeAlias = ComparisonTables | SurveyTable | MatrixTable


def write_report(
    tables: Reported, out: str, say: Callable[[str], object] = lambda text: None
) -> str:
    """Write the report below `out`: a page, Markdown, and files beside it; the page's path.

    Of a comparison: `report/index.html` and `report.md`, beside the page `figures/` as SVG and PDF,
    with the forest plot once for a talk (SVG and PNG) and once for a paper (SVG and PDF),
    `tables/` as LaTeX and, with all digits, as CSV. The page is one file that opens from a disk
    without a network. The runs' pictures are read from where the comparison found them, its
    guidance curve from `curve/` below `out`, if there is one of the same images. Of a survey:
    `index.html`, `report.md`, `figures/`, and a report of its own for each candidate with a
    comparison that lies below `out`, but of many those with a guidance curve; each is told to
    `say` as it begins. Of a matrix: `report/matrix.html` and `matrix.md`.
    """
    from harness.reporting.board import BoardPage
    from harness.reporting.board_html import board_html
    from harness.reporting.drawing import write_drawings
    from harness.reporting.html_page import html_page
    from harness.reporting.markdown import markdown
    from harness.reporting.survey_page import own_comparisons

    own = own_comparisons(tables, out) if isinstance(tables, SurveyTable) else {}
    for at, (label, folder) in enumerate(own.items()):
        say(f"report {at + 1} of {len(own) + 1}: {label}")
        write_report(load_comparison(folder), folder)
    if own:
        say(f"report {len(own) + 1} of {len(own) + 1}: all candidates")
    page = _builder(tables).full(tables, out)
    place = files.join(out, page.place)
    html = board_html(page) if isinstance(page, BoardPage) else html_page(page)
    files.write_text(files.join(out, page.html), html)
    files.write_text(files.join(out, page.text), markdown(page))
    write_drawings([*page.drawings, *page.exports], files.join(place, "figures"))
    for name, text in page.files.items():
        files.write_text(files.join(place, name), text)
    return files.join(out, page.html)


def console_tables(tables: Reported, out: str, verbose: bool = True) -> list[RenderableType]:
    """Tables and verdicts to print in a terminal; if not `verbose`, a dozen lines or two.

    `out` as of `write_report`.
    """
    from harness.reporting.comparison_page import stored_curve
    from harness.reporting.several_short import matrix_short, survey_short
    from harness.reporting.short_form import short_form
    from harness.reporting.terminal import terminal

    if verbose:
        return terminal(brief(tables, out))
    if isinstance(tables, ComparisonTables):
        return short_form(tables, stored_curve(tables, out)[0])
    return survey_short(tables) if isinstance(tables, SurveyTable) else matrix_short(tables)


def brief(tables: Reported, out: str) -> Page:
    """A short report: title, verdicts and the first tables. `out` as of `write_report`."""
    page: Page = _builder(tables).brief(tables, out)
    return page


def _builder(tables: Reported) -> ModuleType:
    from harness.reporting import comparison_page, matrix_page, survey_page

    return {ComparisonTables: comparison_page, SurveyTable: survey_page, MatrixTable: matrix_page}[
        type(tables)
    ]
