"""Tables that are larger than memory: written as they come, and read a row group at a time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from functools import partial

import pyarrow as pa

from harness.store import files, sealing
from harness.store.urls import is_url

ROWS = 1 << 17
"""The most rows of a table that are written or read at once."""


def write_tables(path: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write `tables` one after the other as one Parquet file, atomically, a row group each."""
    fill = partial(sealing.write, schema=schema, tables=tables)
    if not is_url(path):
        files.write_local(path, fill, None)
        return
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, "table.parquet")
        files.write_local(local, fill, None)
        files.put(local, path)


class RowGroups:
    """The row groups of a Parquet file, which stays what it was when it was opened.

    Raises HarnessError for a file that is damaged.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = sealing.opened(path, files.read_bytes(path) if is_url(path) else None)

    def __len__(self) -> int:
        return int(self._file.num_row_groups)

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return [str(name) for name in self._file.schema_arrow.names]

    def rows(self, group: int) -> int:
        """How many rows there are in a group."""
        return int(self._file.metadata.row_group(group).num_rows)

    def only(self, group: int, column: str) -> str | None:
        """The text that all rows of a group have in `column`; None where they differ."""
        held = self._file.metadata.row_group(group).column(self.columns.index(column)).statistics
        alike = held is not None and held.has_min_max and held.min == held.max
        return str(held.min) if alike and not held.null_count else None

    def read(self, group: int, columns: Sequence[str]) -> pa.Table:
        """A group's rows, of these columns in this order."""
        with sealing.damage(self._path):
            return self._file.read_row_group(group, [*columns], use_threads=False).select(columns)
