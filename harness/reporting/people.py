"""Agreement of metrics with people's votes, as a table and in a sentence."""

from __future__ import annotations

from harness.reporting import words
from harness.reporting.page import RowGroup, Table
from harness.store.comparison_tables import ComparisonTables
from harness.store.results import Agreement


def agreement_table(comparison: ComparisonTables) -> Table | None:
    """A row a metric, a group a comparison with votes; None without votes."""
    labels = {metric.name: words.label(metric) for metric in comparison.metrics}
    names = words.run_names(comparison)
    groups: dict[str, list[list[str]]] = {}
    for row in comparison.agreements:
        title = f"{words.setting(row.comparison)}: vs {names[row.comparison]}"
        groups.setdefault(f"{title}. People: {row.people}", []).append(_cells(row, labels))
    if not groups:
        return None
    return Table(
        "How often metrics prefer the image that people prefer",
        [
            "metric",
            "agreement",
            "pairs (prompts)",
            "p",
            "people tie",
            "metric ties",
            "left out",
            "metric's verdict",
            "people's, too",
        ],
        [RowGroup(title, rows) for title, rows in groups.items()],
        "Agreement: the share of pairs in which the metric scores the image higher that more than "
        "half of the votes are for; one half is chance. A pair counts once, whatever the number of "
        "votes. Where people tie the pair is left out; where the metric ties it counts one half. "
        "Left out: a failed image or no score. 95 % intervals and p over prompts. The metric's "
        "verdict is over all its pairs, the people's over those with votes.",
        frozenset({"metric's verdict", "people's, too"}),
        frozenset({"p", "people tie", "metric ties", "left out"}),
    )


def _cells(row: Agreement, labels: dict[str, str]) -> list[str]:
    return [
        labels[row.metric],
        words.rate(row.agreement),
        f"{row.pairs:,} ({row.agreement.n:,})",
        words.p_value(row.p_value),
        f"{row.people_tied:,}",
        f"{row.metric_tied:,}",
        f"{row.left_out:,}",
        row.verdict,
        _same(row),
    ]


def _same(row: Agreement) -> str:
    """Whether metric and people give one verdict; why that cannot be said."""
    if row.same is not None:
        return "yes" if row.same else "no"
    who = [who for who, said in (("people", row.people), ("metric", row.verdict)) if _open(said)]
    return f"open: {words.joined(who)} undecided"


def _open(verdict: str) -> bool:
    return verdict in ("undecided", "undefined")


def agreement_lines(comparison: ComparisonTables) -> list[str]:
    """A sentence on the first metric's agreement with people, for each comparison with votes."""
    first = comparison.metrics[0]
    return [
        f"At {words.setting(row.comparison)}, {words.label(first)} prefers the image that people "
        f"prefer in {words.rate(row.agreement)} of {words.plural(row.pairs, 'pair')} with votes; "
        f"its verdict is {row.verdict}, the people's {row.people}."
        for row in comparison.agreements
        if row.metric == first.name
    ]
