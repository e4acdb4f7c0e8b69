"""What a report holds, found once for the page, for Markdown and for the files beside them."""

from __future__ import annotations

from dataclasses import dataclass

from harness.reporting import curve, figures, run_tables, tables, words
from harness.reporting.drawing import Drawing
from harness.reporting.headline import headline
from harness.reporting.tables import Table
from harness.store.comparison_tables import Comparison


@dataclass(frozen=True)
class Section:
    """Figures and tables under a heading; `details` are tables that are folded away at first."""

    title: str
    figures: list[Drawing]
    tables: list[Table]
    details: list[Table]


@dataclass(frozen=True)
class Verdict:
    """What one comparison says on the first metric, and on the others."""

    setting: str
    verdict: str
    line: str
    others: str


@dataclass(frozen=True)
class Content:
    """Everything but the pairs to look at. The first of the `sections` tells what was run.

    `along` is the candidate against the baseline's guidance curve, at matched cost.
    """

    comparison: Comparison
    along: Comparison | None
    title: str
    verdicts: list[Verdict]
    remarks: list[str]
    sections: list[Section]

    @property
    def drawings(self) -> list[Drawing]:
        return [drawing for section in self.sections for drawing in section.figures]


def content(comparison: Comparison, along: Comparison | None = None) -> Content:
    """`along` is left out, and said to be, where it is of other images."""
    remarks = words.remarks(comparison)
    if along is not None and not curve.fits(comparison, along):
        remarks.append(
            "The guidance curve that is stored is of other images and not shown: run harness bench "
            "again with --curve."
        )
        along = None
    best = None if along is None else told_of_curve(along)
    first, *others = (_verdict(comparison, role) for role in words.primary_first(comparison))
    return Content(
        comparison,
        along,
        headline(comparison, best.verdict if best else None),
        [first, *([best] if best else []), *others],  # no point of a curve may hide the rest of it
        remarks,
        [section for section in _sections(comparison, along) if section.figures or section.tables],
    )


def told_of_curve(along: Comparison) -> Verdict | None:
    """Against the best of the baseline's guidance curve."""
    found = curve.against_best(along)
    return None if found is None else Verdict("best of the guidance curve", *found, "")


def _verdict(comparison: Comparison, role: str) -> Verdict:
    row = comparison.rate(role, comparison.metrics[0].name)
    line, others = words.verdict_line(comparison, role), words.other_metrics(comparison, role)
    primary = ", primary result" if row["role"] == "primary" else ""
    setting = words.also(comparison, role) + primary
    return Verdict(setting, str(row["verdict"]), line, others)


def _sections(comparison: Comparison, along: Comparison | None) -> list[Section]:
    grid, sets = tables.two_by_two(comparison), tables.set_scores(comparison)
    rates, effects = tables.winning_rates(comparison), tables.effects(comparison)
    maps = [figures.category_map(comparison, metric) for metric in comparison.metrics]
    categories = [tables.categories(comparison, metric) for metric in comparison.metrics]
    along_figures, along_tables = [], []
    if along is not None:
        along_figures, along_tables = curve.curve_figures(along), [curve.curve_table(along)]
    return [
        Section(
            "What was run", [], [run_tables.costs(comparison), run_tables.runs(comparison)], []
        ),
        Section(
            "Winning rates",
            [figures.winning_rate_bars(comparison)],
            [grid] if grid else [rates],
            [rates, effects] if grid else [effects],
        ),
        Section("Against the baseline's guidance curve", along_figures, [], along_tables),
        Section("Scores and cost", [], [tables.scores(comparison), *([sets] if sets else [])], []),
        Section(
            "By category", [m for m in maps if m], [], [table for table in categories if table]
        ),
    ]
