"""What ties and categories do to a verdict, and which population it speaks of, as sentences."""

from __future__ import annotations

from collections.abc import Sequence

from harness.reporting import words
from harness.store.comparison_tables import ComparisonTables
from harness.store.results import Estimate, Result
from harness.store.survey_table import Rate

_DECIDED = ("wins", "loses", "equivalent")
_NAMED = 3  # the most categories that are named with what a verdict would be without them


def verdict_words(comparison: ComparisonTables, role: str) -> str:
    """Sentences after a verdict on the first metric: on ties, and on categories."""
    row = comparison.decided(role)
    parts = [_decided(row), ties_word(row, comparison.margin)]
    parts += [_differ(row), _rests_on(row, comparison.changing(role, row.metric))]
    return " ".join(part for part in parts if part)


def decided_cell(row: Result) -> str:
    """The share of pairs that do not tie, and the candidate's share of wins among these."""
    return decided_text(row.decided_share, row.decided)


def decided_line(rate: Result | Rate) -> str:
    """A further line of a cell with a rate; empty where no pair ties, and where that is unknown."""
    if isinstance(rate, Result):
        share, wins = rate.decided_share, rate.decided
    else:
        share, wins = rate.decided, rate.wins_decided
    return "" if share in (None, 1) else f"\ndecided {decided_text(share, wins)}"


def decided_text(share: float | None, wins: Estimate) -> str:
    """A share of decided pairs and the share of wins among them, with its interval."""
    if not share or share == 1:
        return words.NONE if share is None else "none" if not share else "all"
    return f"{words.percent(share)}: {words.plain_rate(wins)}"


def _decided(row: Result) -> str:
    if not row.ties or not (count := row.wins + row.losses):
        return ""
    return (
        f"{count:,} of the pairs are decided ({words.percent(row.decided_share)}), in "
        f"{words.plural(row.decided.n, 'prompt')}: it wins {words.rate(row.decided)} of them."
    )


def mostly_ties(share: float | None, margin: float | None) -> bool:
    """Whether a margin is at least half of how far any rate could be from one half, given the
    `share` of decided pairs."""
    return margin is not None and share is not None and margin >= share / 4


def ties_word(row: Result, margin: float | None) -> str:
    """A sentence where a margin of equivalence is little more than the ties; else empty."""
    share = row.decided_share
    if margin is None or share is None or not mostly_ties(share, margin):
        return ""
    return (
        f"With {words.percent(1 - share)} ties no winning rate is further than "
        f"{words.percent(share / 2)} from one half, and the margin is {words.percent(margin)}: "
        "equivalent means little more here than that most pairs tie."
    )


def _differ(row: Result) -> str:
    """Whether the categories differ; empty where that is not tested."""
    if row.heterogeneity_p is None:
        return ""
    p_value = words.p_value(row.heterogeneity_p)
    p_text = f"p{words.SPACE}{p_value if p_value.startswith('<') else f'= {p_value}'}"
    known = row.heterogeneity_p < 0.05
    verb = "differ" if known else "are not shown to differ"
    return f"The {row.clustered.n} categories {verb} ({p_text})."


def _rests_on(row: Result, changes: Sequence[Result]) -> str:
    """A sentence naming the categories whose removal changes the verdict; empty without any."""
    if not changes:
        return ""
    names = words.joined([str(part.category) for part in changes])
    if len(changes) > _NAMED:
        return f"Leaving out any one of {names} changes the verdict."
    without = words.joined(
        [
            f"without {part.category} {part.without_verdict} ({words.plain_rate(part.without)})"
            for part in changes
        ]
    )
    lead = "It is not the same" if row.verdict == "undecided" else f"The verdict rests on {names}"
    return f"{lead}: {without}."


def short_rest(changes: Sequence[Result]) -> str:
    """The same in few words, of any verdict; empty without any."""
    if not changes:
        return ""
    if len(changes) > 1:
        names = words.joined([str(part.category) for part in changes])
        return f"The verdict would be another without one of {names}."
    (part,) = changes
    rate = words.percent(part.without.value)
    return f"Without {part.category} the verdict would be: {part.without_verdict} ({rate})."


def survey_words(rates: Sequence[tuple[str, Rate | None]], margin: float | None) -> list[str]:
    """Sentences on a survey's verdicts, by sampler, that rest on categories or on ties."""
    known = [(label, rate) for label, rate in rates if rate and rate.verdict in _DECIDED]
    rest = [f"{label} ({words.joined(rate.changing)})" for label, rate in known if rate.changing]
    ties = [
        label
        for label, rate in known
        if rate.verdict == "equivalent" and mostly_ties(rate.decided, margin)
    ]
    lines = []
    if rest:
        lines.append(f"The verdict would be another without one category: {'; '.join(rest)}.")
    if ties:
        lines.append(f"Equivalent means little more than ties for {words.joined(ties)}.")
    return lines


def population(comparison: ComparisonTables) -> str:
    """The sentence on which population a comparison's intervals and verdicts speak of."""
    names = {row.category for row in comparison.results if row.category}
    shared = comparison.candidate.noise_key == "seed"
    return speaks_of(comparison.population, len(names), shared)


def speaks_of(population: str, categories: int, shared: bool = False) -> str:
    """The sentence on which population intervals and verdicts speak of, with so many categories.

    `shared`: whether prompts share the noise of their seeds.
    """
    noise = ", and of noise like these seeds'" if shared else ""
    if population == "categories":
        return (
            f"Intervals and verdicts over all prompts speak of categories like these {categories}, "
            "a sample of others, and of prompts like these in them: they are clustered by "
            f"category, with Student's t of {categories - 1} degrees of freedom. Those of one "
            "category speak of prompts like its own."
        )
    if not categories:
        return f"Intervals and verdicts speak of prompts like these{noise}."
    these = "this category" if categories == 1 else f"these {categories} categories"
    return (
        f"Intervals and verdicts speak of prompts like these, in {these}{noise}, not of other "
        "categories."
    )


def over(comparison: ComparisonTables) -> str:
    """What the intervals of results over all prompts are over."""
    return "categories" if comparison.population == "categories" else "prompts"
