"""The report of a comparison: one candidate against its baselines."""

from __future__ import annotations

from dataclasses import replace

from harness.reporting import (
    category_tables,
    category_words,
    curve,
    figures,
    look_words,
    run_tables,
    tables,
    viewer,
    words,
)
from harness.reporting.best_guidance import best_by_metric
from harness.reporting.cheapest_rival import rival_lines, rival_table
from harness.reporting.first_screen import first_screen, what_it_rests_on
from harness.reporting.headline import headline
from harness.reporting.latex import latex_tables
from harness.reporting.page import Page, Section, Table, Verdict, Viewer
from harness.reporting.people import agreement_lines, agreement_table
from harness.reporting.remarks import remarks
from harness.reporting.shown_pairs import shown_pairs
from harness.store import files
from harness.store.comparison_tables import (
    BEST_OF,
    CURVE,
    ComparisonTables,
    holds_comparison,
    load_comparison,
)

_STALE = (
    "The guidance curve that is stored is of other images and not shown: run harness bench again "
    "with --curve."
)
_EARLIER = (
    "The guidance curve that is stored was compared by an earlier version, without a verdict "
    "against the best guidance: run harness bench again with --curve."
)


def full(comparison: ComparisonTables, out: str) -> Page:
    """The whole report: guidance curve from `curve/` below `out`, pictures from the runs."""
    along, stale = stored_curve(comparison, out)
    shown = shown_pairs(comparison, along)
    return replace(
        _summary(comparison, along),
        lines=[*_lines(comparison), *_about_curve(along, stale)],
        sections=_sections(comparison, along),
        subtitle=what_it_rests_on(comparison),
        first=first_screen(comparison, along, shown),
        viewer=Viewer(
            viewer.viewer_data(shown),
            viewer.absence(comparison),
            words.label(comparison.metrics[0]),
        ),
        files=_files(comparison, along),
    )


def brief(comparison: ComparisonTables, out: str) -> Page:
    """The report for a terminal: a table a comparison, and a verdict each."""
    if grid := tables.two_by_two(comparison):
        shown = [replace(run_tables.costs(comparison), caption=grid.caption)]
        shown += [
            replace(one, caption="", columns=[one.caption, *grid.columns[1:]])
            for one in grid.apart()
        ]
    else:
        shown = tables.winning_rates(comparison.without(BEST_OF)).apart()
    shown += category_tables.across(comparison).apart(", across categories")[:1]
    if sets := tables.set_scores(comparison):
        shown += sets.apart(" of the whole run")
    page = _summary(comparison, stored_curve(comparison, out)[0])
    shown += [one for one in (rival_table(comparison), agreement_table(comparison)) if one]
    return replace(page, sections=[Section("", shown)], lines=_lines(comparison))


def _lines(comparison: ComparisonTables) -> list[str]:
    own = [*remarks(comparison), category_words.population(comparison)]
    return [*own, *rival_lines(comparison), *agreement_lines(comparison)]


def stored_curve(comparison: ComparisonTables, out: str) -> tuple[ComparisonTables | None, bool]:
    """The stored comparison with the baseline's guidance curve, None unless it is of these images;
    and whether one of other images was left out."""
    folder = files.join(out, CURVE)
    if not holds_comparison(folder):
        return None, False
    along = load_comparison(folder)
    return (along, False) if curve.fits(comparison, along) else (None, True)


def _about_curve(along: ComparisonTables | None, stale: bool) -> list[str]:
    return [_STALE] if stale else [_EARLIER] if along is not None and not along.curve else []


def _summary(comparison: ComparisonTables, along: ComparisonTables | None) -> Page:
    """The page's title and verdicts."""
    best = None if along is None else curve.against_best(along)
    first, *others = (_verdict(comparison, role) for role in words.primary_first(comparison))
    title = headline(comparison, along)
    # No point of a curve may hide the rest of it.
    verdicts = [first, *([best] if best else []), *others]
    verdicts.sort(key=lambda one: not one.primary)
    return Page(title, [], verdicts, html="report/index.html")


def _verdict(comparison: ComparisonTables, role: str) -> Verdict:
    row = comparison.decided(role)
    line, others = words.verdict_line(comparison, role), words.other_metrics(comparison, role)
    about = category_words.verdict_words(comparison, role)
    look = look_words.sentence(comparison.look(role, row.metric))
    line = " ".join(part for part in (line, about, look) if part)
    return Verdict(words.also(comparison, role), row.verdict, line, others, row.primary)


def _sections(comparison: ComparisonTables, along: ComparisonTables | None) -> list[Section]:
    grid, sets = tables.two_by_two(comparison), tables.set_scores(comparison)
    rates, effects = tables.winning_rates(comparison), tables.effects(comparison)
    maps = [figures.category_map(comparison, metric) for metric in comparison.metrics]
    categories = [tables.categories(comparison, metric) for metric in comparison.metrics]
    apart = [category_tables.one_by_one(comparison, metric) for metric in comparison.metrics]
    rival, people = rival_table(comparison), agreement_table(comparison)
    run = [run_tables.costs(comparison), run_tables.runs(comparison)]
    sections = [
        Section("What was run", run, commands=comparison.commands),
        Section(
            "Winning rates",
            [grid or rates],
            [figures.winning_rate_bars(comparison)],
            [rates, effects] if grid else [effects],
        ),
        Section(
            "Against the baseline's guidance curve",
            figures=curve.curve_figures(along) if along else [],
            details=_along(along) if along else [],
        ),
        Section("Against the best of several pictures", [rival] if rival else []),
        Section("Do people agree?", [people] if people else []),
        Section("Scores and cost", [tables.scores(comparison), *([sets] if sets else [])]),
        Section(
            "By category",
            [across] if (across := category_tables.across(comparison)) else [],
            [m for m in maps if m],
            [t for t in [*categories, *apart] if t],
        ),
    ]
    return [section for section in sections if section.figures or section.tables]


def _along(along: ComparisonTables) -> list[Table]:
    """The guidance curve as tables, with the differences of its set scores."""
    table, sets = curve.curve_table(along), tables.set_scores(along)
    table = replace(table, note=f"{table.note} {best_by_metric(along)}".strip())
    title = "Scores of whole sets of images, by the baseline's guidance scale"
    return [table, *([replace(sets, caption=title)] if sets else [])]


def _files(comparison: ComparisonTables, along: ComparisonTables | None) -> dict[str, str]:
    """Tables beside the page: LaTeX and, with all digits, CSV."""
    frames = {"winning_rates": comparison.rates, "scores": comparison.summary}
    frames |= {"set_scores": comparison.set_scores} if comparison.set_results else {}
    frames |= {"agreement": comparison.agreement} if comparison.agreements else {}
    if along is not None:
        frames |= {"curve_winning_rates": along.rates, "curve_scores": along.summary}
    texts = {f"{name}.csv": frame.to_csv(index=False) for name, frame in frames.items()}
    texts |= latex_tables(comparison, along)
    return {f"tables/{name}": text for name, text in texts.items()}
