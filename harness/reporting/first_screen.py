"""What is seen first of a comparison: who wins, what that rests on, and three pairs to look at."""

from __future__ import annotations

from dataclasses import dataclass

from harness.reporting import category_words, words
from harness.reporting.drawing import Drawing
from harness.reporting.forest import Forest, forest
from harness.reporting.forest_figure import exports
from harness.reporting.headline import clauses, which_look
from harness.reporting.remarks import failures
from harness.reporting.run_tables import span
from harness.reporting.shown_pairs import ShownPairs
from harness.reporting.three_pairs import Example, three_pairs
from harness.store.comparison_tables import ComparisonTables
from harness.store.curve_rule import GUIDANCE_CURVE
from harness.store.results import Result


@dataclass(frozen=True)
class FirstScreen:
    """`headline` is the declared verdict, `lead` what else was found, and `alerts` what one must
    know before believing any of it.

    `seen` says which comparison and metric the `examples` are of; `exports` are the forest plot as
    figures that are understood without the page.
    """

    headline: str
    lead: str
    forest: Forest
    seen: str
    examples: list[Example]
    alerts: list[str]
    exports: list[Drawing]


def first_screen(
    comparison: ComparisonTables, along: ComparisonTables | None, shown: ShownPairs
) -> FirstScreen:
    """`along` is the baseline's guidance curve, `shown` the pairs to choose three from."""
    first, *further = clauses(comparison, along)
    look = which_look(comparison, along)
    title = first + (f" ({look})" if look else "")
    plot = forest(comparison, along)
    return FirstScreen(
        title,
        _lead(further, _without(comparison, along, shown.opens)),
        plot,
        f"{shown.titles[shown.opens]}, {words.label(comparison.metrics[0])}",
        three_pairs(shown),
        failures(comparison),
        exports(plot, title, what_it_rests_on(comparison)),
    )


def what_it_rests_on(comparison: ComparisonTables) -> str:
    """Models, size, prompts, seeds, pairs, noise and metric in a line."""
    run = comparison.candidate
    models = list(dict.fromkeys(each.model for each in comparison.runs.values()))
    size = "" if run.size is None else f", {run.size[0]} by {run.size[1]} pixels"
    seeds = f"seed{'s' if len(run.seeds) > 1 else ''} {span(run.seeds)}"
    first = words.primary_first(comparison)[0]
    alike = all(words.paired(comparison, role) for role in comparison.baselines)
    noise = "and noise" if alike else "(not of the same noise)"
    return (
        f"Model{'s' if len(models) > 1 else ''} {words.joined(models)}{size}, "
        f"{words.plural(run.prompts, 'prompt')}, {seeds}: "
        f"{words.plural(comparison.decided(first).pairs, 'pair')} of the same prompt {noise}, "
        f"judged by {words.label(comparison.metrics[0])}"
    )


def _lead(further: list[str], without: str) -> str:
    text = "; ".join(further)
    return f"{text[:1].upper()}{text[1:]}{'.' if text else ''} {without}".strip()


def _without(comparison: ComparisonTables, along: ComparisonTables | None, role: str) -> str:
    """The categories without which the verdict would be another."""
    tables = along if role == GUIDANCE_CURVE and along is not None else comparison
    row: Result = tables.decided(role)
    return category_words.short_rest(tables.changing(role, row.metric))
