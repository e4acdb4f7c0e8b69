"""Several samplers against each other: rankings, winning rates and differences as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from harness.reporting import words
from harness.reporting.markdown import escape, table_lines
from harness.reporting.tables import Group, Table
from harness.store import files
from harness.store.comparison_tables import MetricInfo

if TYPE_CHECKING:
    from rich.console import RenderableType

TITLE = "Each sampler against each other"


def write_matrix(
    ranking: pd.DataFrame, matrix: pd.DataFrame, metrics: Sequence[MetricInfo], folder: str
) -> str:
    """Write `report/matrix.html` and `matrix.md` below `folder`; the page's path.

    `ranking` and `matrix` have the columns of compare.matrix.RANKING and MATRIX.
    """
    from harness.reporting.page import tables_page

    shown = [rankings(ranking, metrics)]
    for metric in metrics:
        shown += [
            crossed(matrix, metric, "winning_rate", "Winning rate of the row over the column"),
            crossed(matrix, metric, "difference", "Mean difference, row minus column"),
        ]
    page = files.join(folder, "report", "matrix.html")
    files.write_text(page, tables_page(TITLE, [], shown))
    lines = [f"# {escape(TITLE)}", *(table_lines(table) for table in shown)]
    files.write_text(files.join(folder, "matrix.md"), "\n".join(lines) + "\n")
    return page


def matrix_tables(ranking: pd.DataFrame, metrics: Sequence[MetricInfo]) -> list[RenderableType]:
    """What to print: the ranking on each metric over all categories."""
    from rich.text import Text

    from harness.reporting.console import plain_table

    shown: list[RenderableType] = []
    whole = rankings(ranking[ranking["category"].isna()], metrics)
    for group in whole.groups:
        table = Table(whole.caption, whole.columns, [Group("", group.rows)])
        shown += [Text(group.title, style="bold"), plain_table(table)]
    return shown


def rankings(ranking: pd.DataFrame, metrics: Sequence[MetricInfo]) -> Table:
    """Mean winning rates and strengths, best first, by metric and category."""
    groups = []
    for metric in metrics:
        part = ranking[ranking["metric"] == metric.name]
        for category in [None, *sorted(part["category"].dropna().unique())]:
            here = part["category"].isna() if category is None else part["category"] == category
            rows = part[here].sort_values("winning_rate", ascending=False, kind="stable")
            title = words.label(metric) + ("" if category is None else f", {category}")
            body = [
                [
                    str(row["run"]),
                    words.rate(pd.Series({**row, "reason": "one prompt: no interval"})),
                    words.estimate(
                        row["strength"], row["strength_low"], row["strength_high"], signed=True
                    ),
                    f"{row['prompts']:,}",
                ]
                for _, row in rows.iterrows()
            ]
            groups += [Group(title, body)] if body else []
    return Table(
        "Mean winning rate over the other samplers, and strength",
        ["run", "mean winning rate", "strength (log)", "prompts"],
        groups,
        "Ties count half; 95 % intervals over prompts. Strength: Bradley and Terry's model with "
        "Davidson's ties, the mean of all 0, intervals by resampling prompts; two samplers whose "
        "strengths differ by d win with odds exp(d). Ranks are exploratory.",
    )


def crossed(matrix: pd.DataFrame, metric: MetricInfo, value: str, caption: str) -> Table:
    """A row and a column a sampler, over all categories."""
    part = matrix[(matrix["metric"] == metric.name) & matrix["category"].isna()]
    names = list(dict.fromkeys([*part["a"], *part["b"]]))
    cells = {(row["a"], row["b"]): row for _, row in part.iterrows()}
    body = []
    for a in names:
        line = [str(a)]
        for b in names:
            row = cells.get((a, b))
            line.append("" if row is None else _cell(row, value))
        body.append(line)
    return Table(f"{caption}: {words.label(metric)}", ["", *map(str, names)], [Group("", body)])


def _cell(row: pd.Series, value: str) -> str:
    if value == "winning_rate":
        return words.rate(row)
    low, high = row["difference_low"], row["difference_high"]
    return words.estimate(row["difference"], low, high, row["reason"], signed=True)
