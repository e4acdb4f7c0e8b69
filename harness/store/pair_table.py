"""The pairs of a comparison: `compare/pairs.parquet`, and the same before it is written.

Pairs may be more than memory holds. So they are kept in parts, each of one comparison and metric,
and the rows of a part are made, or read, whenever they are asked for.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, repeat
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from harness.store.result_columns import PAIRS
from harness.store.results import typed
from harness.store.row_groups import ROWS, RowGroups, write_tables
from harness.store.text_columns import texts

_TYPES = {"string": pa.large_string(), "int64": pa.int64(), "float64": pa.float64()}
SCHEMA = pa.schema([(name, _TYPES[kind.lower()]) for name, kind in PAIRS.items()])


class Part(Protocol):
    """At most ROWS pairs of one comparison on one metric."""

    @property
    def comparison(self) -> str: ...

    @property
    def metric(self) -> str: ...

    def __len__(self) -> int: ...

    def table(self, columns: Sequence[str]) -> pa.Table:
        """The pairs, of these columns of PAIRS in this order."""


class PairTable:
    """Pairs of all comparisons on all metrics, in parts."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self.parts = tuple(parts)

    @classmethod
    def of(cls, frame: pd.DataFrame) -> PairTable:
        """The rows of a frame."""
        keys = frame[["comparison", "metric"]]
        new = np.flatnonzero((keys != keys.shift()).any(axis=1))
        cuts = [0, *new[1:], len(frame)] if len(frame) else []
        return cls(
            _Rows(frame.iloc[at : min(at + ROWS, end)])
            for first, end in pairwise(cuts)
            for at in range(first, end, ROWS)
        )

    @classmethod
    def stored(cls, path: str) -> PairTable | None:
        """The rows of a file, which are read when they are asked for; None where it lacks columns.

        Raises HarnessError for a file that is damaged.
        """
        groups = RowGroups(path)
        if not {*PAIRS} <= {*groups.columns}:
            return None
        parts = [_Group(groups, at) for at in range(len(groups))]
        if all(part.known for part in parts):
            return cls(parts)
        tables = [part.table([*PAIRS]) for part in parts]  # of an earlier version
        return cls.of(_frame(tables, [*PAIRS]))

    def frame(
        self,
        comparison: str | None = None,
        metric: str | None = None,
        columns: Sequence[str] = tuple(PAIRS),
        items: Collection[str] | None = None,
    ) -> pd.DataFrame:
        """The pairs of a comparison, on a metric, of these columns and items; None: of all."""
        wanted = None if items is None else pa.array(items, pa.large_string())
        parts = self.of_metric(comparison, metric)
        return _frame([_picked(part, columns, wanted) for part in parts], columns)

    def of_metric(self, comparison: str | None, metric: str | None) -> Iterator[Part]:
        """The parts of a comparison, on a metric; None: of all."""
        for part in self.parts:
            if comparison in (None, part.comparison) and metric in (None, part.metric):
                yield part

    def without(self, comparison: str) -> PairTable:
        """The pairs of all other comparisons."""
        return PairTable(part for part in self.parts if part.comparison != comparison)

    def plus(self, *frames: pd.DataFrame) -> PairTable:
        """With the rows of frames behind the others."""
        return PairTable([*self.parts, *(p for frame in frames for p in PairTable.of(frame).parts)])

    def write(self, path: str) -> None:
        """Write all rows as Parquet, a part at a time."""
        write_tables(path, SCHEMA, (part.table([*PAIRS]) for part in self.parts))

    @cached_property
    def whole(self) -> pd.DataFrame:
        """All rows in memory."""
        return self.frame()


class AllPairs:
    """A dataclass field of a PairTable, or a frame, that reads as the frame of all its rows."""

    def __get__(self, owner: Any, kind: type | None = None) -> pd.DataFrame:
        if owner is None:
            raise AttributeError("a field without default")
        held: PairTable = vars(owner)["pairs"]
        return held.whole

    def __set__(self, owner: Any, value: PairTable | pd.DataFrame) -> None:
        vars(owner)["pairs"] = value if isinstance(value, PairTable) else PairTable.of(value)


@dataclass(frozen=True)
class _Rows:
    """Rows of a frame, all of one comparison and metric."""

    frame: pd.DataFrame

    @property
    def comparison(self) -> str:
        return str(self.frame["comparison"].iloc[0])

    @property
    def metric(self) -> str:
        return str(self.frame["metric"].iloc[0])

    def __len__(self) -> int:
        return len(self.frame)

    def table(self, columns: Sequence[str]) -> pa.Table:
        schema = pa.schema([SCHEMA.field(name) for name in columns])
        return pa.Table.from_pandas(self.frame, schema, preserve_index=False).cast(schema)


@dataclass(frozen=True)
class MadePart:
    """Pairs of which `cells` makes a column: texts as a Series, numbers as an array, None: null."""

    comparison: str
    metric: str
    rows: int
    cells: Callable[[str], Any]

    def __len__(self) -> int:
        return self.rows

    def table(self, columns: Sequence[str]) -> pa.Table:
        schema = pa.schema([SCHEMA.field(name) for name in columns])
        return pa.table([self._column(name) for name in columns], [*columns]).cast(schema)

    def _column(self, name: str) -> pa.Array:
        if name in ("comparison", "metric"):
            return pa.repeat(getattr(self, name), self.rows)
        if (cells := self.cells(name)) is None:
            return pa.nulls(self.rows, SCHEMA.field(name).type)
        return texts(cells) if isinstance(cells, pd.Series) else pa.array(cells, from_pandas=True)


class _Group:
    """A row group of a file."""

    def __init__(self, groups: RowGroups, at: int) -> None:
        self._groups, self._at = groups, at
        names = groups.only(at, "comparison"), groups.only(at, "metric")
        self.known = None not in names
        self.comparison, self.metric = map(str, names)

    def __len__(self) -> int:
        return self._groups.rows(self._at)

    def table(self, columns: Sequence[str]) -> pa.Table:
        return self._groups.read(self._at, columns)


def _picked(part: Part, columns: Sequence[str], items: pa.Array | None) -> pa.Table:
    if items is None:
        return part.table(columns)
    rows = pc.is_in(part.table(["item_id"])["item_id"], value_set=items)
    return part.table(columns).filter(rows) if pc.any(rows).as_py() else pa.table({})


def _frame(tables: Sequence[pa.Table], columns: Sequence[str]) -> pd.DataFrame:
    held = [table for table in tables if len(table)]
    schema = pa.schema([SCHEMA.field(name) for name in columns])
    table = pa.concat_tables(held) if held else schema.empty_table()
    found = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return typed(found, {name: PAIRS[name] for name in columns})


def pairs_hash(parts: Sequence[Part]) -> str:
    """A hash of pairs and their outcomes, in whatever order."""
    lines = pa.chunked_array([_lines(part) for part in parts], pa.large_string())
    order = pc.sort_indices(lines)
    digest = hashlib.sha256()
    for at in range(0, len(order), ROWS):
        some = "\n".join(lines.take(order[at : at + ROWS]).to_pylist())
        digest.update((("\n" if at else "") + some).encode())
    return digest.hexdigest()[:16]


def _lines(part: Part) -> pa.Array:
    """What there is of each pair, as a text."""
    table = part.table(["item_id", "b_seed", "outcome"])
    ids, seeds, outcomes = (column.to_pylist() for column in table.columns)
    seeds = [pd.NA if seed is None else seed for seed in seeds]
    outcomes = [math.nan if outcome is None else outcome for outcome in outcomes]
    rows = zip(repeat(part.comparison, len(ids)), ids, seeds, outcomes, strict=True)
    return pa.array([str(row) for row in rows], pa.large_string())
