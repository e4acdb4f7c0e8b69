"""Several samplers against each other on disk, `compare/matrix.parquet` and `ranking.parquet`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import pandas as pd

from harness.store import files
from harness.store.comparison_tables import MetricInfo
from harness.store.results import UNKNOWN, Estimate, TableRow, flat, typed

MATRIX = {
    "metric": "string",
    "category": "string",  # null: all categories together
    "a": "string",
    "b": "string",
    "prompts": "int64",
    "pairs": "int64",
    "winning_rate": "float64",
    "low": "float64",
    "high": "float64",
    "p_value": "float64",
    "difference": "float64",
    "difference_low": "float64",
    "difference_high": "float64",
    "reason": "string",
    "decided": "float64",  # wins over wins and losses
    "decided_low": "float64",
    "decided_high": "float64",
    "decided_prompts": "int64",
    "decided_share": "float64",  # of pairs that do not tie
    "heterogeneity_p": "float64",  # of "all categories have one rate"
}
"""`matrix.parquet`: one row an ordered pair of samplers, metric and category; columns as RATES."""

RANKING = {
    "metric": "string",
    "category": "string",
    "run": "string",
    "prompts": "int64",
    "winning_rate": "float64",  # mean over the other samplers
    "low": "float64",
    "high": "float64",
    "strength": "float64",  # log, Bradley and Terry with Davidson's ties; the mean is 0
    "strength_low": "float64",
    "strength_high": "float64",
}
"""`ranking.parquet`: one row a sampler, metric and category."""


@dataclass(frozen=True)
class Duel(TableRow):
    """Sampler `a` against sampler `b` on a metric, in a category or (null) in all."""

    COUNTS: ClassVar[dict[str, str]] = {
        "winning_rate": "prompts",
        "difference": "prompts",
        "decided": "decided_prompts",
    }

    metric: str
    category: str | None
    a: str
    b: str
    pairs: int
    p_value: float | None
    winning_rate: Estimate
    difference: Estimate
    decided: Estimate = UNKNOWN
    decided_share: float | None = None
    heterogeneity_p: float | None = None


@dataclass(frozen=True)
class Rank(TableRow):
    """A sampler's mean winning rate over the others, and its strength."""

    COUNTS: ClassVar[dict[str, str]] = {"winning_rate": "prompts", "strength": "prompts"}

    metric: str
    category: str | None
    run: str
    winning_rate: Estimate
    strength: Estimate


@dataclass(frozen=True)
class MatrixTable:
    """Every sampler against every other one; `runs` are the samplers' names and texts, in order.

    `matrix` and `ranking` are the duels and ranks as DataFrames, see MATRIX and RANKING.
    """

    runs: dict[str, str]
    metrics: list[MetricInfo]
    duels: list[Duel]
    ranks: list[Rank]

    @cached_property
    def matrix(self) -> pd.DataFrame:
        return typed(map(flat, self.duels), MATRIX)

    @cached_property
    def ranking(self) -> pd.DataFrame:
        return typed(map(flat, self.ranks), RANKING)

    def save(self, out: str) -> None:
        """Write both tables into `compare/` below `out`."""
        for name, frame in (("matrix", self.matrix), ("ranking", self.ranking)):
            files.write_frame(files.join(out, "compare", f"{name}.parquet"), frame)
