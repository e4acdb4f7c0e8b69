"""The light columns of a run's many small files, in one file of each kind.

Opening 100,000 small files takes minutes, reading what a comparison wants of them seconds.
`index/<kind>.parquet` has one row a shard: its name, the stamp of its file, marks of its metadata,
and a list for each column. A shard is taken from there only while its file has that stamp; every
other is read from its own file. So nothing but speed depends on an index: it may be missing, old or
damaged, and of several processes that write it at once the last one wins.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from harness.core.errors import HarnessError, NothingMade
from harness.store import files, schema
from harness.store.ownership import Owner
from harness.store.packing import whole
from harness.store.row_groups import RowGroups

log = logging.getLogger(__name__)

MARKS = ("items", "identity", "truncated", "content", "pictures")
"""What is kept of a file's metadata."""

LEAST = 64
"""An index is opened for as many shards, and written when as many are not in it: fewer are read as
fast from their own files."""

_NAME, _STAMP, _ROWS = "shard_name", "shard_stamp", "shard_rows"
LIGHT = [
    "item_id", "prompt_id", "prompt", "category", "seed", "failed", "nfe", "nfe_by_branch",
    "guidance_scale",
]  # fmt: skip
"""Columns of images that are kept: all but pictures, sizes and notes."""

_SCORES = ["value", "reason"]
_TIMING = ["shard", "images", "seconds", "device", "threads"]
_GROUP = 1 << 18  # items in a row group, which is read in one piece
_AT_ONCE = 64  # shards that are read before they are joined
Join: TypeAlias = Callable[[Iterable[pa.Table]], pa.Table]


@dataclass(frozen=True)
class Shards:
    """The rows of many shards, one after the other: `counts` [shards] of them each.

    `marks` are those of MARKS, by shard; None where its file does not have it.
    """

    names: list[str]
    counts: NDArray[np.int64]
    marks: dict[str, list[str | None]]
    table: pa.Table

    def mark(self, name: str) -> dict[str, str | None]:
        """One of MARKS by shard."""
        return dict(zip(self.names, self.marks[name], strict=True))


@dataclass(frozen=True)
class _Index:
    """The content of an index, and the stamps of the shards' files when it was written."""

    shards: Shards
    stamps: list[str]

    def current(self, stamps: Mapping[str, str | None]) -> dict[str, int]:
        """The places of the shards whose files have the same stamps now."""
        both = enumerate(zip(self.shards.names, self.stamps, strict=True))
        return {name: at for at, (name, stamp) in both if stamps.get(name) == stamp}


def read(
    owner: Owner, kind: str, names: Iterable[str], columns: list[str] | None, join: Join = whole
) -> Shards:
    """Read columns (None: all) of shards of a run's folder, in the order of `names`.

    `kind` is the folder that they are in, `images` or `scores/<metric>`; `join` makes one table of
    the shards'. Raises HarnessError for shards that are damaged or of another run.
    """
    names, path = list(names), owner.path
    index = _stored(path, kind, columns, join) if len(names) >= LEAST else None
    if index is None:
        return _own(owner, kind, names, columns, join)
    held = index.current(_stamps(path, kind))
    shards = index.shards
    if absent := [name for name in names if name not in held]:
        held |= {name: len(shards.names) + at for at, name in enumerate(absent)}
        shards = _chained(shards, _own(owner, kind, absent, columns, join))
    return _picked(shards, [held[name] for name in names])


def update(owner: Owner, kind: str) -> None:
    """Write the index of a kind anew where it lacks LEAST or more shards as they are now.

    A folder that cannot be written to is left as it is, with a warning.
    """
    try:
        _update(owner, kind)
    except NothingMade:
        raise
    except (HarnessError, OSError) as error:
        log.warning("%s: no index of %s, comparisons take longer: %s", owner.path, kind, error)


def _update(owner: Owner, kind: str) -> None:
    path = owner.path
    # Listed before anything is read: what is replaced from here on will have another stamp.
    stamps = {name: stamp for name, stamp in _stamps(path, kind).items() if stamp}
    columns = _schema(kind).names
    index = _stored(path, kind, columns, whole) if len(stamps) >= LEAST else None
    held = index.current(stamps) if index else {}
    absent = [name for name in stamps if name not in held]
    if len(absent) < LEAST:
        return
    new = {name: table for name in absent if (table := _fitting(owner, kind, name)) is not None}
    if len(new) < LEAST:
        return
    shards = _together(list(new), new.values(), whole)
    if index:
        held = {name: len(new) + at for name, at in held.items()}
        shards = _chained(shards, index.shards)
    held |= {name: at for at, name in enumerate(new)}
    shards = _picked(shards, [held[name] for name in sorted(held)])
    table = _nested(shards, [stamps[name] for name in shards.names])
    marks = {"columns": str(_schema(kind))}
    files.write_table(_file(path, kind), table, marks, rows=_in_a_group(shards), keeper=owner)


def _schema(kind: str) -> pa.Schema:
    """The columns that an index holds of a kind; none for kinds without an index."""
    if kind == "images":
        return pa.schema([schema.IMAGES.field(name) for name in LIGHT])
    if kind.startswith("scores/"):
        return pa.schema([schema.SCORES.field(name) for name in _SCORES])
    if kind == "timing":
        return pa.schema([schema.TIMING.field(name) for name in _TIMING])
    return pa.schema([])


def _file(path: str, kind: str) -> str:
    return files.join(path, "index", f"{kind}.parquet")


def shard_file(path: str, kind: str, name: str) -> str:
    """Where a shard of one kind lies in a run's folder."""
    return files.join(path, kind, f"{name}.parquet")


def _stamps(path: str, kind: str) -> dict[str, str | None]:
    found = files.stamps(files.join(path, kind), ".parquet")
    return {name.removesuffix(".parquet"): stamp for name, stamp in found.items()}


def _stored(path: str, kind: str, columns: list[str] | None, join: Join) -> _Index | None:
    """The index, if there is a whole one that holds these columns."""
    wanted, where = _schema(kind), _file(path, kind)
    if columns is None or not {*columns} <= {*wanted.names} or not files.exists(where):
        return None
    try:
        groups = RowGroups(where)  # opened once, as another process may replace the file
        named = [_NAME, _STAMP, _ROWS, *MARKS]
        about = pa.concat_tables(groups.read(at, named) for at in range(len(groups)))
        if files.metadata(about).get("columns") != str(wanted):
            return None  # of another version
        rows = join(_flat(groups.read(at, columns), wanted) for at in range(len(groups)))
    except (HarnessError, KeyError, OSError) as error:
        log.warning("%s is left aside: %s", where, error)
        return None
    marks = {mark: about[mark].to_pylist() for mark in MARKS}
    names, counts = about[_NAME].to_pylist(), about[_ROWS].to_numpy()
    return _Index(Shards(names, counts, marks, rows), about[_STAMP].to_pylist())


def _flat(lists: pa.Table, schema: pa.Schema) -> pa.Table:
    """A row an item, of lists of them."""
    columns = {}
    for name in lists.column_names:
        chunks = [chunk.flatten() for chunk in lists[name].chunks]
        columns[name] = pa.chunked_array(chunks, schema.field(name).type)
    return pa.table(columns)


def _own(
    owner: Owner, kind: str, names: Sequence[str], columns: list[str] | None, join: Join
) -> Shards:
    """From the shards' own files."""
    return _together(names, _read_own(owner, kind, names, columns), join)


def _read_own(
    owner: Owner, kind: str, names: Sequence[str], columns: list[str] | None
) -> Iterator[pa.Table]:
    for at in range(0, len(names), _AT_ONCE):
        here = names[at : at + _AT_ONCE]
        paths = [shard_file(owner.path, kind, name) for name in here]
        for name, table in zip(here, files.read_tables(paths, columns), strict=True):
            owner.accept(kind, name, files.metadata(table))
            yield table


def _fitting(owner: Owner, kind: str, name: str) -> pa.Table | None:
    """A shard's columns for the index; None if it is gone, damaged, not this run's, or of another
    schema."""
    wanted = _schema(kind)
    try:
        table = files.read_table(shard_file(owner.path, kind, name), wanted.names)
        owner.accept(kind, name, files.metadata(table))
    except (HarnessError, KeyError, OSError):
        return None
    return table if table.schema.equals(wanted) else None


def _together(names: Sequence[str], tables: Iterable[pa.Table], join: Join) -> Shards:
    marks: dict[str, list[str | None]] = {mark: [] for mark in MARKS}
    counts = []

    def noted() -> Iterator[pa.Table]:
        for table in tables:
            counts.append(len(table))
            found = files.metadata(table)
            for mark, held in marks.items():
                held.append(found.get(mark))
            yield table.replace_schema_metadata(None)

    # In one piece of memory: what follows is slow on thousands of small ones.
    table = join(noted())
    return Shards(list(names), np.array(counts, np.int64), marks, table)


def _chained(first: Shards, second: Shards) -> Shards:
    return Shards(
        first.names + second.names,
        np.concatenate([first.counts, second.counts]),
        {mark: first.marks[mark] + second.marks[mark] for mark in MARKS},
        pa.concat_tables([first.table, second.table]),
    )


def _picked(shards: Shards, places: Sequence[int]) -> Shards:
    """The shards at `places`, in this order."""
    if places == list(range(len(shards.names))):
        return shards
    at = np.asarray(places, np.int64)
    counts = shards.counts[at]
    starts = (np.cumsum(shards.counts) - shards.counts)[at]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return Shards(
        [shards.names[i] for i in places],
        counts,
        {mark: [values[i] for i in places] for mark, values in shards.marks.items()},
        shards.table.take(pa.array(np.repeat(starts, counts) + within)),
    )


def _in_a_group(shards: Shards) -> int:
    """How many shards a row group holds."""
    return max(1, _GROUP * len(shards.names) // max(1, int(shards.counts.sum())))


def _nested(shards: Shards, stamps: Sequence[str | None]) -> pa.Table:
    """One row a shard."""
    parts = []
    ends = np.concatenate([[0], np.cumsum(shards.counts)])
    group = _in_a_group(shards)
    for first in range(0, len(shards.names), group):
        here = slice(first, first + group)
        cuts = ends[first : first + group + 1]
        rows = shards.table.slice(cuts[0], cuts[-1] - cuts[0]).combine_chunks()
        columns: dict[str, Any] = {_NAME: shards.names[here], _STAMP: stamps[here]}
        columns |= {_ROWS: shards.counts[here]}
        columns |= {mark: pa.array(shards.marks[mark][here], pa.string()) for mark in MARKS}
        offsets = pa.array(cuts - cuts[0], pa.int32())
        for name, column in zip(rows.column_names, rows.columns, strict=True):
            columns[name] = pa.ListArray.from_arrays(offsets, column.chunk(0))
        parts.append(pa.table(columns))
    return pa.concat_tables(parts)
