"""Rows of many files as one table that holds every text once, however many rows repeat it."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_ROWS = 1 << 20  # packed at a time


def whole(tables: Iterable[pa.Table]) -> pa.Table:
    """The rows of all tables as they are, in one piece of memory."""
    return pa.concat_tables([*tables] or [pa.table({})]).combine_chunks()


def packed(tables: Iterable[pa.Table]) -> pa.Table:
    """The rows of all tables in one piece, of which no more than some are held unpacked.

    Texts become codes of a dictionary, but for `item_id`, of which every row has its own. So do
    the evaluations by branch, as texts that `evaluations` reads.
    """
    held: list[pa.Table] = []
    left = 0
    for table in tables:
        held.append(_encoded(table))
        left += len(table)
        if left >= _ROWS:
            held, left = [_joined(held)], 0
    found = _joined(held or [pa.table({})])
    pa.default_memory_pool().release_unused()
    return found


def unpacked(table: pa.Table) -> pd.DataFrame:
    """A packed table as a frame. Prompts stay Arrow's: as categories millions take gigabytes."""
    prompts = {
        name: pd.Series(table[name], dtype=pd.ArrowDtype(table[name].type))
        for name in table.column_names
        if name in ("prompt_id", "prompt")
    }
    frame = table.drop_columns([*prompts]).to_pandas(split_blocks=True)
    return frame.assign(**prompts)[table.column_names]


def _joined(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def _encoded(table: pa.Table) -> pa.Table:
    return pa.table({name: _column(name, table[name]) for name in table.column_names})


def _column(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_list(column.type):
        column = pa.chunked_array([_as_text(chunk) for chunk in column.chunks], pa.string())
    if name == "item_id":
        return column.cast(pa.large_string())
    return column.dictionary_encode() if pa.types.is_string(column.type) else column


def _as_text(branches: pa.ListArray) -> pa.StringArray:
    """A line for each network and branch, with its evaluations."""
    network, branch, count = branches.flatten().flatten()
    names = pc.binary_join_element_wise(network, branch, "/")
    lines = pc.binary_join_element_wise(names, count.cast(pa.string()), "\t")
    lengths = pc.fill_null(pc.list_value_length(branches), 0)
    ends = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths.cast("int64"))])
    return pc.binary_join(pa.ListArray.from_arrays(ends.cast(pa.int32()), lines), "\n")


def evaluations(column: pa.ChunkedArray) -> dict[str, int]:
    """Evaluations by "network/branch", summed over a packed `nfe_by_branch`."""
    sums: dict[str, int] = {}
    for row in column.value_counts().to_pylist():
        for line in (row["values"] or "").splitlines():
            name, _, count = line.rpartition("\t")
            sums[name] = sums.get(name, 0) + int(count) * row["counts"]
    return sums
