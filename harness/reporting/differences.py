"""Table of mean differences of a survey's runs from their baselines."""

from __future__ import annotations

from collections.abc import Sequence

from harness.reporting import words
from harness.reporting.page import Table, by_metric
from harness.store.comparison_tables import MetricInfo
from harness.store.survey_table import Rate, Row, SurveyTable


def differences(survey: SurveyTable, metrics: Sequence[MetricInfo] | None = None) -> Table:
    """A row a metric and run: its mean difference from the baseline at own settings."""

    def rows(metric: MetricInfo) -> list[list[str]]:
        compared = [(row, row.rate("own", metric.name)) for row in survey.rows]
        return [_cells(row, rate) for row, rate in compared if rate is not None]

    return Table(
        "Mean differences from the baseline, own settings",
        ["run", "NFE", "baseline's NFE", "mean difference", "winning rate", "verdict"],
        by_metric(survey.metrics if metrics is None else metrics, rows),
        "Run minus baseline in the metric's units, on the same prompts and noise, with 95 % "
        "intervals over prompts.",
        frozenset({"verdict"}),
    )


def _cells(row: Row, rate: Rate) -> list[str]:
    return [
        row.label,
        words.count(row.nfe),
        words.count(rate.nfe),
        words.estimate(rate.mean_difference, signed=True),
        words.plain_rate(rate.winning_rate),
        rate.verdict,
    ]
