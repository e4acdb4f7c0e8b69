"""Differences of a survey's set scores, such as FID, from the baselines: a table, and verdicts."""

from __future__ import annotations

from collections.abc import Sequence

from harness.reporting import words
from harness.reporting.page import Table, by_metric
from harness.reporting.shared_reasons import estimate_or_dash, reasons_note, shared_reasons
from harness.store.comparison_tables import MetricInfo
from harness.store.survey_table import Row, SetGap, SurveyTable


def set_gaps(survey: SurveyTable) -> Table:
    """A row a set metric, run and setting: the difference, raw and corrected, and its verdict."""
    gaps = (gap for row in survey.rows for gap in row.set_gaps)
    shared = shared_reasons([gap.corrected_difference] for gap in gaps)

    def rows(metric: MetricInfo) -> list[list[str]]:
        return [
            _cells(row, gap, shared)
            for row in survey.rows
            for gap in row.set_gaps
            if gap.metric == metric.name
        ]

    return Table(
        "Differences of whole sets from the baseline",
        ["run", "at", "baseline's NFE", "difference", "corrected", "verdict"],
        by_metric(survey.metrics, rows),
        "Run minus baseline over the same images. Corrected: without the bias of few images, which "
        "unequal spread of the two sides leaves in a difference of Frechet distances; the verdict "
        "goes by its 95 % interval, a jackknife over blocks of prompts." + reasons_note(shared),
        frozenset({"at", "verdict"}),
    )


def _cells(row: Row, gap: SetGap, shared: Sequence[str]) -> list[str]:
    raw = words.NONE if gap.difference is None else words.number(gap.difference, signed=True)
    return [
        row.label,
        words.setting(gap.setting),
        words.count(gap.nfe),
        raw,
        estimate_or_dash(gap.corrected_difference, shared, signed=True),
        gap.verdict,
    ]


_TOLD = ("better", "worse")
"""The verdicts whose runs are always named."""


def set_verdicts(survey: SurveyTable) -> list[str]:
    """A sentence a set metric and setting on which runs are better, worse or neither."""
    gaps: dict[tuple[str, str], dict[str, list[str]]] = {}
    for metric in survey.metrics:
        for row in survey.rows:
            known = {rate.setting for rate in row.rates}  # without the points of a curve
            for gap in row.set_gaps:
                if gap.metric == metric.name and gap.setting in known:
                    verdicts = gaps.setdefault((gap.setting, metric.label), {})
                    verdicts.setdefault(gap.verdict, []).append(row.label)
    return [
        f"At {words.setting(setting)}, on {label}: {words.by_verdict(found, _TOLD)}."
        for (setting, label), found in gaps.items()
        if set(found) != {"undefined"}
    ]
