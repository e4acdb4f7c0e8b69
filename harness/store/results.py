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

PAIRS = {
    "comparison": "string",
    "metric": "string",
    "item_id": "string",
    "prompt_id": "string",
    "prompt": "string",
    "category": "string",
    "seed": "int64",
    "b_seed": "Int64",  # the baseline's seed, where the pair is not of one noise; else null
    "a_value": "float64",
    "b_value": "float64",
    "a_failed": "string",  # null, or why there is no picture
    "b_failed": "string",
    "outcome": "float64",  # 1, 0.5 or 0: see core.outcome; null if left out
    "left_out": "string",  # why the pair does not count
}
"""`pairs.parquet`: one row a pair, metric and comparison; a is the candidate, b the baseline."""

RATES = {
    "comparison": "string",
    "metric": "string",
    "direction": "string",
    "category": "string",  # null: all categories together
    "role": "string",  # primary (declared before looking) or exploratory
    "prompts": "int64",  # prompts with a pair that counts
    "seeds": "int64",
    "pairs": "int64",
    "wins": "int64",
    "ties": "int64",
    "losses": "int64",
    "a_failed": "int64",
    "b_failed": "int64",
    "left_out": "int64",  # pairs with a picture on both sides and no score on one
    "a_unpaired": "int64",  # items of the candidate that the baseline lacks
    "b_unpaired": "int64",
    "winning_rate": "float64",  # [0, 1]
    "low": "float64",
    "high": "float64",
    "effective": "float64",  # coin flips that give an interval this wide
    "p_value": "float64",
    "p_method": "string",
    "verdict": "string",  # wins, loses, equivalent, undecided or undefined: decisions.verdict
    "detectable": "float64",  # smallest winning rate that as many flips show in 80 % of cases
    "reason": "string",  # why a number above is null
    "warning": "string",  # why the interval is to be read with care
    "binary": "bool",  # whether all scores are 0 or 1
    "only_a": "Int64",  # pairs where a alone is 1; null unless binary, as the next two
    "only_b": "Int64",
    "mcnemar_p": "float64",  # exact for one seed, by flips of whole prompts for more
    "difference": "float64",  # mean of a - b in the metric's units; risk difference if binary
    "difference_low": "float64",
    "difference_high": "float64",
    "difference_pairs": "int64",  # pairs with a score on both sides
    "difference_prompts": "int64",
    "difference_reason": "string",
    "effect": "float64",  # difference in the baseline's within-prompt seed deviations
    "effect_low": "float64",
    "effect_high": "float64",
    "effect_reason": "string",
    "correlation": "float64",  # of the two scores of a pair
    "correlation_low": "float64",
    "correlation_high": "float64",
    "correlation_reason": "string",
    "crossed": "float64",  # winning rate over all pairs of two different seeds of a prompt
    "crossed_low": "float64",
    "crossed_high": "float64",
    "crossed_prompts": "int64",
    "crossed_reason": "string",
    "decided": "float64",  # wins over wins and losses: see comparison.decided_pairs
    "decided_low": "float64",
    "decided_high": "float64",
    "decided_prompts": "int64",  # prompts with a pair that does not tie
    "decided_reason": "string",
    "heterogeneity_p": "float64",  # of "all categories have one rate"; null in one category
    "heterogeneity_method": "string",
    "clustered": "float64",  # winning rate with the interval over categories as a sample
    "clustered_low": "float64",
    "clustered_high": "float64",
    "clustered_p": "float64",
    "categories": "int64",  # categories with a pair that counts; 0 in one category
    "clustered_reason": "string",
    "shrunken": "float64",  # of one category: its rate drawn towards that of all
    "shrunken_low": "float64",
    "shrunken_high": "float64",
    "shrunken_prompts": "int64",
    "shrunken_reason": "string",
    "without": "float64",  # of one category: the winning rate of all others together
    "without_low": "float64",
    "without_high": "float64",
    "without_prompts": "int64",
    "without_reason": "string",
    "without_p": "float64",
    "without_verdict": "string",
}
"""`winning_rates.parquet`: one row a comparison, metric and category, and one over all."""

SUMMARY = {
    "run": "string",  # candidate, or the comparison's name
    "run_id": "string",
    "metric": "string",
    "direction": "string",
    "mean": "float64",  # over prompts, of the run's own images
    "low": "float64",
    "high": "float64",
    "images": "int64",  # images with a score
    "prompts": "int64",
    "failed": "int64",
    "reason": "string",
    "nfe": "float64",  # mean network evaluations an image, all networks and branches
    "nfe_images": "int64",
    "nfe_by_branch": "string",  # JSON: {"network/branch": mean}
    "seconds": "float64",  # per image, as measured on `device`
    "timed_images": "int64",
    "device": "string",
    "macs": "float64",  # multiply-accumulates an image, without text encoder and decoder
    "se": "float64",  # of the mean, over prompts
    "seed_sd": "float64",  # standard deviation of the seeds' means; null with one seed
    "standing": "string",  # best, tied (not told apart, all runs at once), or null
}
"""`summary.parquet`: one row a run and metric, with what an image cost beside its score."""

SET_SCORES = {
    "run": "string",
    "run_id": "string",
    "metric": "string",
    "title": "string",
    "about": "string",
    "direction": "string",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "images": "int64",
    "failed": "int64",
    "reason": "string",
    "warning": "string",  # why it should not be set beside the candidate's
    "difference": "float64",  # candidate minus this run, over the same images, at this many
    "difference_low": "float64",
    "difference_high": "float64",
    "difference_reason": "string",
    "corrected": "float64",  # the difference without its bias, which unequal spread leaves in it
    "corrected_low": "float64",
    "corrected_high": "float64",
    "corrected_reason": "string",
    "verdict": "string",  # better, worse, undecided or undefined, by the corrected difference
}
"""`set_scores.parquet`: one row a run and set metric."""

AGREEMENT = {
    "comparison": "string",
    "metric": "string",
    "agreement": "float64",  # [0, 1]: share of pairs that metric and people decide alike
    "low": "float64",
    "high": "float64",
    "effective": "float64",
    "prompts": "int64",
    "reason": "string",
    "pairs": "int64",  # pairs with a vote that count
    "people_tied": "int64",  # pairs on which people's votes tie: left out
    "metric_tied": "int64",  # pairs that people decide and the metric does not: one half
    "left_out": "int64",  # pairs with a vote and a failed image, or without a score
    "p_value": "float64",  # of "it agrees in one half"
    "p_method": "string",
    "verdict": "string",  # the metric's, over all its pairs
    "people": "string",  # the people's, over the pairs with a vote
    "same": "boolean",  # whether the two are one; null where either decides nothing
}
"""A row a comparison with votes and metric."""


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
