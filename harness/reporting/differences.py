"""Means of paired runs against their baseline's."""

from __future__ import annotations

from collections.abc import Sequence

from harness.reporting import words
from harness.reporting.tables import Group, Table
from harness.store.comparison_tables import MetricInfo
from harness.store.survey_table import Rate, Row, Survey


def differences(survey: Survey, metrics: Sequence[MetricInfo] | None = None) -> Table:
    """Per metric and run: how far its mean is from that of the baseline, own settings."""
    groups = []
    for metric in survey.metrics if metrics is None else metrics:
        compared = [(row, row.rate("own", metric.name)) for row in survey.rows]
        body = [_cells(row, rate) for row, rate in compared if rate is not None]
        groups += [Group(words.label(metric), body)] if body else []
    columns = ["run", "NFE", "baseline's NFE", "mean difference", "winning rate", "verdict"]
    note = (
        "Run minus baseline in the metric's units, on the same prompts and noise, with 95 % "
        "intervals over prompts."
    )
    caption = "Mean differences from the baseline, own settings"
    return Table(caption, columns, groups, note, frozenset({"verdict"}))


def _cells(row: Row, rate: Rate) -> list[str]:
    difference = words.estimate(
        rate.difference, rate.difference_low, rate.difference_high, rate.reason, signed=True
    )
    won = words.NONE if rate.value is None else words.percent(rate.value)
    if rate.low is not None and rate.high is not None:
        won += f" [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
    counts = [words.count(row.nfe), words.count(rate.nfe)]
    return [row.label, *counts, difference, won, rate.verdict]
