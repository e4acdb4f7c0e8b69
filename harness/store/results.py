"""Rows of the result tables that `compare` computes, stores below `compare/`, and reports show.

Each row is a dataclass; each table is also a DataFrame with the columns named here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

import pandas as pd

from harness.core.errors import HarnessError

Direction: TypeAlias = Literal["higher", "lower"]
"""In which a metric is better."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; `reason` says why a null is null.

    `n` is how many independent observations it rests on: prompts, or the images of a run's score.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None

    @property
    def ends(self) -> tuple[float, float] | None:
        """Lower and upper end of the interval; None without one."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def through(self, function: Callable[[float], float]) -> Estimate:
        """Number and bounds mapped by an increasing function."""
        value, low, high = (
            None if v is None else function(v) for v in (self.value, self.low, self.high)
        )
        return Estimate(value, low, high, self.n, self.reason)

    def within(self, least: float | None, most: float | None) -> Estimate:
        """Bounds clipped to the range of what is estimated."""
        low, high = self.low, self.high
        if low is not None and least is not None:
            low = max(low, least)
        if high is not None and most is not None:
            high = min(high, most)
        return replace(self, low=low, high=high)

    def turned(self, whole: float) -> Estimate:
        """`whole` minus the number: with 1 the opponent's rate, with 0 the opposite difference."""
        less = self.through(lambda value: whole - value)
        return replace(less, low=less.high, high=less.low)


UNKNOWN = Estimate(None, None, None, 0)
"""An estimate of nothing."""


@dataclass(frozen=True)
class WinningRate(Estimate):
    """A winning rate in [0, 1]; `effective` is how many coin flips have an interval this wide."""

    effective: float | None = None


@dataclass(frozen=True)
class TableRow:
    """Base of table rows; `COUNTS` names the estimates, each with the column of its `n`."""

    COUNTS: ClassVar[dict[str, str]] = {}


@dataclass(frozen=True)
class Result(TableRow):
    """One comparison on one metric: over all categories (`category` null) or in one; see RATES.

    An estimate is several columns of the table: `difference` is `difference`, `difference_low`,
    `difference_high` and `difference_reason`; the ends of the winning rate are `low` and `high`.
    """

    COUNTS: ClassVar[dict[str, str]] = {
        "winning_rate": "prompts",
        "difference": "difference_prompts",
        "effect": "difference_prompts",
        "correlation": "difference_prompts",
        "crossed": "crossed_prompts",
        "decided": "decided_prompts",
        "clustered": "categories",
        "shrunken": "shrunken_prompts",
        "without": "without_prompts",
    }

    comparison: str
    metric: str
    direction: Direction
    category: str | None
    role: str
    seeds: int
    pairs: int
    wins: int
    ties: int
    losses: int
    a_failed: int
    b_failed: int
    left_out: int
    a_unpaired: int
    b_unpaired: int
    winning_rate: WinningRate
    p_value: float | None
    p_method: str
    verdict: str
    detectable: float | None
    warning: str | None
    binary: bool
    only_a: int | None
    only_b: int | None
    mcnemar_p: float | None
    difference: Estimate
    difference_pairs: int
    effect: Estimate
    correlation: Estimate
    crossed: Estimate
    decided: Estimate = UNKNOWN
    heterogeneity_p: float | None = None
    heterogeneity_method: str | None = None
    clustered: Estimate = UNKNOWN
    clustered_p: float | None = None
    shrunken: Estimate = UNKNOWN
    without: Estimate = UNKNOWN
    without_p: float | None = None
    without_verdict: str | None = None

    @property
    def decided_share(self) -> float | None:
        """The share of pairs that do not tie; null without pairs."""
        return (self.wins + self.losses) / self.pairs if self.pairs else None

    @property
    def primary(self) -> bool:
        """Whether it is the result that was declared to decide."""
        return self.role == "primary"


@dataclass(frozen=True)
class Mean(TableRow):
    """A run's mean score on one metric, over the prompts of its `images` with a score."""

    COUNTS: ClassVar[dict[str, str]] = {"mean": "prompts"}

    run: str
    metric: str
    direction: Direction
    mean: Estimate
    images: int
    se: float | None
    seed_sd: float | None
    standing: str | None = None


@dataclass(frozen=True)
class SetResult(TableRow):
    """A run's score on a metric of whole sets, and the candidate's minus it; see SET_SCORES."""

    COUNTS: ClassVar[dict[str, str]] = {
        "value": "images",
        "difference": "images",
        "corrected": "images",
    }

    run: str
    metric: str
    title: str
    about: str
    direction: Direction
    value: Estimate
    warning: str | None
    difference: Estimate
    corrected: Estimate
    verdict: str | None


@dataclass(frozen=True)
class Agreement(TableRow):
    """How often a metric prefers the image of a pair that people prefer; see AGREEMENT."""

    COUNTS: ClassVar[dict[str, str]] = {"agreement": "prompts"}

    comparison: str
    metric: str
    agreement: WinningRate
    pairs: int
    people_tied: int
    metric_tied: int
    left_out: int
    p_value: float | None
    p_method: str
    verdict: str
    people: str
    same: bool | None


AnyRow = TypeVar("AnyRow", bound=TableRow)


def typed(
    rows: pd.DataFrame | Iterable[dict[str, Any]] | dict[str, Any], columns: dict[str, str]
) -> pd.DataFrame:
    """A table with exactly these columns and types, whatever is null in it."""
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def parsed(kind: Any, data: Any, where: str) -> Any:
    """JSON-like `data` of the file `where` as dataclasses of this kind; HarnessError if it is not
    theirs."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise HarnessError(
            f"{where} was written by another version of the harness, or by hand: {place}: "
            f"{first['msg']}. Make it again (harness bench or harness compare; pictures and scores "
            "are kept)"
        ) from None


def flat(row: TableRow) -> dict[str, Any]:
    """A row as values by column; an estimate becomes several columns."""
    cells = {one.name: getattr(row, one.name) for one in fields(row)}
    for name in row.COUNTS:
        estimate = cells.pop(name)
        columns = _columns(row.COUNTS, name).items()
        cells |= {column: getattr(estimate, part, None) for part, column in columns} | cells
    return cells


def read_rows(kind: type[AnyRow], frame: pd.DataFrame) -> list[AnyRow]:
    """The rows of a table, which may have more columns."""
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [_row(kind, {str(key): value for key, value in row.items()}) for row in records]


def _row(kind: type[AnyRow], record: Mapping[str, Any]) -> AnyRow:
    values = {one.name: record[one.name] for one in fields(kind) if one.name not in kind.COUNTS}
    for name in kind.COUNTS:
        columns = _columns(kind.COUNTS, name).items()
        parts = {part: record[column] for part, column in columns if column in record}
        values[name] = (WinningRate if "effective" in parts else Estimate)(**parts)
    return kind(**values)


def _columns(counts: Mapping[str, str], name: str) -> dict[str, str]:
    """The column of each part of an estimate; those of a row's first have the plain names."""
    start = "" if name == next(iter(counts)) else f"{name}_"
    ends = {part: f"{start}{part}" for part in ("low", "high", "reason", "effective")}
    return {"value": name, **ends, "n": counts[name]}
