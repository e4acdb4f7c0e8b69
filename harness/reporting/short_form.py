"""A comparison in a dozen lines of 80 columns: headline, a row a comparison, what was declared."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from harness.reporting import words
from harness.reporting.forest import forest_rows
from harness.reporting.headline import headline
from harness.reporting.interval_bar import interval_bar, reach
from harness.reporting.terminal import STYLES
from harness.store.comparison_tables import CANDIDATE, ComparisonTables
from harness.store.results import Result

_NAME = 24  # characters of the longest usual name


def short_form(
    comparison: ComparisonTables, along: ComparisonTables | None = None
) -> list[RenderableType]:
    """The first metric of a comparison, and of its guidance curve if there is one.

    Bars show the interval about 50 %, all on one scale; decided is the share of pairs that do not
    tie.
    """
    lines = sorted(forest_rows(comparison, along), key=lambda line: not line.result.primary)
    most = reach([line.result.winning_rate for line in lines])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    scale = f"50 ± {100 * most:.0f}"
    for name in ("baseline at", scale, "wins, %", "decided", "NFE", "verdict"):
        left = name in ("baseline at", scale, "verdict")
        width = _NAME if name == "baseline at" else None
        table.add_column(name, justify="left" if left else "right", min_width=width)
    for line in lines:
        row, style = line.result, STYLES.get(line.result.verdict, "")
        rate = row.winning_rate
        shown = words.NONE if rate.value is None else f"{100 * rate.value:.1f} {words.bounds(rate)}"
        share = words.NONE if row.decided_share is None else f"{100 * row.decided_share:.0f} %"
        nfe = line.evaluations.replace(" ", "")
        name = _short(line.names) + " *" * row.primary
        bar = Text(interval_bar(rate, (0.5 - most, 0.5 + most)), style)
        table.add_row(name, bar, shown, share, nfe, Text(row.verdict, style))
    return [Text(headline(comparison, along), style="bold"), table, *_notes(comparison, along)]


def _short(names: list[str]) -> str:
    """The names of a comparison, without what the headline says."""
    text = " = ".join(names).replace("cost and guidance", "cost, guidance")
    return text.removesuffix(" at equal cost")


def _notes(comparison: ComparisonTables, along: ComparisonTables | None) -> Iterator[Text]:
    row, metric = comparison.decided(next(iter(comparison.baselines))), comparison.metrics[0]
    whose = words.run_names(comparison)[CANDIDATE]
    counted = f"{words.plural(row.pairs, 'pair')} of {words.plural(row.winning_rate.n, 'prompt')}"
    yield Text(f"{words.label(metric)}: {whose}, {counted}, {words.TIES}.", style="dim")
    first = words.primary_first(comparison)[0]
    if not words.paired(comparison, first):
        why = words.why_unpaired(comparison, first)
        yield Text(f"I{why[1:]}: each meets all of its prompt.", style="dim")
    if others := words.other_metrics(comparison, first):
        where = words.place(first)
        yield Text(f"{where[0].upper()}{where[1:]}, {others[0].lower()}{others[1:]}", style="dim")
    primary = comparison.primary or (along.primary if along is not None else None)
    declared = "* declared to decide; the others are" if primary else "Nothing is declared: all is"
    yield Text(f"{declared} exploratory. More: --verbose, and the report.", style="dim")
    if any(_beside_half(line.result) for line in forest_rows(comparison, along)):
        text = "An interval beside 50 % alone is no verdict: p has to be below 0.05, too."
        yield Text(text, style="dim")
    for name, run in comparison.runs.items():
        if run.failed:
            count = f"{sum(run.failed.values()):,} of {run.images:,}"
            yield Text(f"{count} images of {name} failed: they lose their pairs.", style="bold red")


def _beside_half(result: Result) -> bool:
    """Whether the interval leaves out one half, and yet there is no verdict."""
    ends = result.winning_rate.ends
    return ends is not None and result.verdict == "undecided" and not ends[0] <= 0.5 <= ends[1]
