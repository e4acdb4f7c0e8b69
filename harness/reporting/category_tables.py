"""Tables of what categories do to results: do they differ, and what is left without each."""

from __future__ import annotations

from harness.reporting import category_words, words
from harness.reporting.page import RowGroup, Table, by_metric
from harness.store.comparison_tables import CANDIDATE, ComparisonTables, MetricInfo


def across(comparison: ComparisonTables) -> Table:
    """Per metric and comparison: do categories differ, the interval over them, what rests on one.

    Empty without categories.
    """

    def rows(metric: MetricInfo) -> list[list[str]]:
        return [
            [words.setting(role), *_across(comparison, role, metric)]
            for role in comparison.baselines
            if comparison.by_category(role, metric.name)
        ]

    changes = "verdict changes without"
    return Table(
        "Is it the same in all categories?",
        ["baseline at", "categories", "differ, p", "rate, interval over categories", "p", changes],
        by_metric(comparison.metrics, rows),
        "Differ: a permutation test of prompts over categories, by Cochran's Q with the variances "
        "of their prompts; 10,000 draws. Interval over categories: as if these were a sample of "
        "others, by a jackknife over categories and Student's t. The last column names the "
        "categories without which the verdict over all would be another, which is exploratory.",
        frozenset({changes}),
        frozenset({"p"}),
    )


def _across(comparison: ComparisonTables, role: str, metric: MetricInfo) -> list[str]:
    row = comparison.rate(role, metric.name)
    untested = row.heterogeneity_p is None
    changes = comparison.changing(role, metric.name)
    return [
        f"{row.clustered.n}",
        str(row.heterogeneity_method) if untested else words.p_value(row.heterogeneity_p),
        words.rate(row.clustered),
        words.p_value(row.clustered_p),
        ", ".join(f"{part.category} ({part.without_verdict})" for part in changes) or words.NONE,
    ]


def one_by_one(comparison: ComparisonTables, metric: MetricInfo) -> Table:
    """Per comparison and category on one metric: its rate, shrunken, and all others without it.

    Empty without categories.
    """
    names, groups = words.run_names(comparison), []
    for role in comparison.baselines:
        rows = [
            [
                str(row.category),
                words.pairs(row),
                words.rate(row.winning_rate),
                words.rate(row.shrunken),
                words.rate(row.without),
                str(row.without_verdict),
            ]
            for row in comparison.by_category(role, metric.name)
        ]
        title = f"{words.setting(role)}: {names[CANDIDATE]} vs {names[role]}"
        groups += [RowGroup(title, rows)] if rows else []
    columns = ["category", "pairs (prompts)", "winning rate", "shrunken"]
    return Table(
        f"Category by category on {words.label(metric)}: shrunken, and left out",
        [*columns, "all without it", "verdict without it"],
        groups,
        "Shrunken: drawn towards the mean of all categories, the more the less they differ "
        "(empirical Bayes), since of many categories the most extreme are so by chance. 95 % "
        f"intervals; all without it: over {category_words.over(comparison)}.",
        frozenset({"verdict without it"}),
    )
