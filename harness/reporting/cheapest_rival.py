"""The comparison with the best of several pictures of a cheaper run, as a table and in words."""

from __future__ import annotations

from collections.abc import Sequence

from harness.reporting import words
from harness.reporting.page import RowGroup, Table, by_metric
from harness.store.comparison_tables import BEST_OF, CANDIDATE, ComparisonTables, MetricInfo
from harness.store.results import Result
from harness.store.survey_table import Rate, Row, SurveyTable

RULE = (
    "The baseline's pictures of a prompt are taken in groups, by increasing seed, of as many as "
    "cost no more than one of the candidate's; of each group the verifier, a metric with a network "
    "of its own, keeps the best (of equals that of the lowest seed), and every picture of the "
    "candidate at that prompt is compared with it."
)
"""What a comparison with the best of N is."""


def rival_table(comparison: ComparisonTables) -> Table | None:
    """A row a metric: the winning rate over the best of N; None where that was not compared."""
    facts = comparison.runs.get(BEST_OF)
    if facts is None or facts.choice is None:
        return None
    names = words.run_names(comparison)
    nfe = [words.count(run.cost.nfe) for run in (comparison.candidate, facts)]
    rows = [
        [words.label(metric), *_cells(comparison.rate(BEST_OF, metric.name)), *nfe]
        for metric in comparison.metrics
    ]
    verdicts = [comparison.rate(BEST_OF, metric.name).verdict for metric in comparison.metrics]
    return Table(
        f"{names[CANDIDATE]} vs {names[BEST_OF]}",
        [
            "metric",
            "winning rate",
            "decided",
            "wins / ties / losses",
            "pairs (prompts)",
            "p",
            "NFE",
            "NFE of best",
            "verdict",
        ],
        [RowGroup("", [[*row, said] for row, said in zip(rows, verdicts, strict=True)])],
        f"{RULE} Decided: the share of pairs that do not tie. 95 % intervals and p over prompts.",
        frozenset({"verdict"}),
        frozenset({"p", "verdict"}),
    )


def _cells(row: Result) -> list[str]:
    decided = (row.wins + row.losses) / row.pairs if row.pairs else None
    return [
        words.rate(row.winning_rate),
        words.percent(decided),
        words.outcomes(row),
        words.pairs(row),
        words.p_value(row.p_value),
    ]


def rival_lines(comparison: ComparisonTables) -> list[str]:
    """Sentences on how the best was chosen, what is left over, and what choosing costs."""
    facts = comparison.runs.get(BEST_OF)
    if facts is None or facts.choice is None:
        return []
    choice = facts.choice
    name, n = words.run_names(comparison)[BEST_OF], choice.n
    by = _title(comparison, choice.verifier)
    line = f"Against the {name}: of every {n} pictures of a prompt, by increasing seed, {by} "
    line += f"keeps one ({words.plural(facts.images, 'picture')} kept"
    line += f", {words.plural(choice.left_over, 'picture')} in no group" if choice.left_over else ""
    line += f", {words.plural(choice.unranked, 'group')} without a score" * bool(choice.unranked)
    return [f"{line}). {_price(comparison)}"]


def _title(comparison: ComparisonTables, name: str) -> str:
    return next((m.label for m in comparison.metrics if m.name == name), name)


def _price(comparison: ComparisonTables) -> str:
    """What choosing costs, and a sentence where the whole costs more than the candidate."""
    ours, theirs = comparison.candidate.cost, comparison.runs[BEST_OF].cost
    choice = comparison.runs[BEST_OF].choice
    assert choice is not None
    if choice.macs is None:
        return f"What choosing costs is not known ({choice.reason}) and not counted."
    looks = choice.n * choice.macs
    line = f"Choosing costs {words.macs(looks) if looks else 'no'} multiply-accumulates"
    if not theirs.macs:
        return f"{line}."
    line += ", which are counted"
    if ours.macs and theirs.macs > ours.macs:
        line += f"; with them the best costs {words.ratio(theirs.macs, ours.macs)} times as much"
        line += " as the candidate"
    return f"{line}."


def survey_rivals(survey: SurveyTable, metrics: Sequence[MetricInfo] | None = None) -> Table | None:
    """A row a candidate and metric: the winning rate over the best of N; None where none is."""
    rates = [
        (row, rate)
        for row in survey.rows
        for rate in row.rates
        if rate.setting == BEST_OF and rate.value is not None
    ]

    def rows(metric: MetricInfo) -> list[list[str]]:
        return [_survey_cells(row, rate) for row, rate in rates if rate.metric == metric.name]

    groups = by_metric(survey.metrics if metrics is None else metrics, rows)
    if not groups:
        return None
    by = f" The verifier: {survey.metric(survey.verifier).label}." if survey.verifier else ""
    return Table(
        "Against the best of N pictures of the baseline",
        ["run", "N", "winning rate", "decided", "pairs", "NFE", "NFE of best", "p", "verdict"],
        groups,
        f"{RULE}{by} Decided: the share of pairs that do not tie.",
        frozenset({"verdict"}),
        frozenset({"p"}),
    )


def _survey_cells(row: Row, rate: Rate) -> list[str]:
    return [
        row.label,
        words.NONE if rate.tries is None else f"{rate.tries}",
        words.rate(rate.winning_rate),
        words.percent(rate.decided),
        f"{rate.pairs:,}",
        words.count(row.nfe),
        words.count(rate.nfe),
        words.p_value(rate.p_value),
        rate.verdict,
    ]
