"""Means of paired runs against their baseline's."""

from __future__ import annotations

from collections.abc import Sequence

from harness.reporting import words
from harness.reporting.page import Table, by_metric
from harness.store.comparison_tables import MetricInfo
from harness.store.survey_table import Rate, Row, SurveyTable


def differences(survey: SurveyTable, metrics: Sequence[MetricInfo] | None = None) -> Table:
    """Per metric and run: how far its mean is from that of the baseline, own settings."""

    def rows(metric: MetricInfo) -> list[list[str]]:
        compared = [(row, row.rate("own", metric.name)) for row in survey.rows]
        return [_cells(row, rate) for row, rate in compared if rate is not None]

    columns = ["run", "NFE", "baseline's NFE", "mean difference", "winning rate", "verdict"]
    note = (
        "Run minus baseline in the metric's units, on the same prompts and noise, with 95 % "
        "intervals over prompts."
    )
    caption = "Mean differences from the baseline, own settings"
    groups = by_metric(survey.metrics if metrics is None else metrics, rows)
    return Table(caption, columns, groups, note, frozenset({"verdict"}))


def _cells(row: Row, rate: Rate) -> list[str]:
    counts = [words.count(row.nfe), words.count(rate.nfe)]
    difference = words.estimate(rate.mean_difference, signed=True)
    return [row.label, *counts, difference, words.plain_rate(rate.winning_rate), rate.verdict]
