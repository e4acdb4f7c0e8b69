"""Images in Parquet tables: which column holds them, and its rows, a group at a time."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.core.errors import HarnessError, first_line, unknown
from harness.store import files
from harness.store.boundary import Boundary
from harness.store.image_files import Entry, Images, read_image
from harness.store.pictures import MOST_BYTES, Broken

log = logging.getLogger(__name__)

_IMAGE_COLUMNS = ("image", "img", "png", "jpg", "picture")
_ROWS = 32  # of a Parquet file, held in memory at once


class _Parquet(Images):
    """Images in a column of Parquet files; rows without bytes name files beside the table."""

    def __init__(self, path: str, tables: Sequence[_Table], entries: Sequence[Entry]) -> None:
        super().__init__(path, entries)
        self._tables = tables

    def read(self, start: int, stop: int) -> Iterator[tuple[Entry, bytes | Broken]]:
        first = 0
        for table in self._tables:
            begin, end = max(start, first), min(stop, first + table.rows)
            if begin < end:
                datas = table.read(begin - first, end - first)
                yield from zip(self.entries[begin:end], datas, strict=True)
            first += table.rows


@dataclass(frozen=True)
class _Table:
    """One Parquet file and its column of images."""

    path: str
    column: str
    rows: int

    def read(self, start: int, stop: int) -> Iterator[bytes | Broken]:
        with _parquet(self.path) as file, _damage(self.path):
            first, groups = 0, []
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if first < stop and first + count > start:
                    groups.append((group, first))
                first += count
            at = groups[0][1] if groups else 0
            batches = file.iter_batches(
                _ROWS, row_groups=[group for group, _ in groups], columns=[self.column]
            )
            for batch in batches:
                if at + batch.num_rows > start and at < stop:
                    part = batch.column(0).slice(max(0, start - at), stop - max(at, start))
                    yield from (self._bytes(value) for value in part.to_pylist())
                at += batch.num_rows

    def _bytes(self, value: Any) -> bytes | Broken:
        if isinstance(value, dict):
            data, path = value.get("bytes"), value.get("path")
            return self._beside(path) if data is None and path else self._bytes(data)
        if value is None:
            return Broken("the row holds no image")
        return Broken("too large") if len(value) > MOST_BYTES else value

    def _beside(self, path: str) -> bytes | Broken:
        """The file that a row names, or a file in a zip: below the table's folder, nowhere else."""
        member, inside, place = path.rpartition("::")
        if "://" in place or (inside and not member.startswith("zip://")):
            return Broken(f"its file is not read from elsewhere: {path}")
        if "://" in self.path:
            if inside or os.path.isabs(place) or ".." in PurePosixPath(place).parts:
                return Broken(f"its file is not read from elsewhere: {path}")
            return read_image(files.join(files.parent(self.path), place))
        folder = os.path.dirname(os.path.abspath(self.path))
        whole = os.path.join(folder, place)
        if reason := Boundary(folder).problem(whole):
            return Broken(f"its file {place} is not read: {reason}")
        return read_image(f"{member}::{whole}" if inside else whole)


def _parquet(path: str) -> pq.ParquetFile:
    with _damage(path):
        return pq.ParquetFile(files.open_binary(path))


@contextmanager
def _damage(path: str) -> Iterator[None]:
    """Errors of reading a Parquet file as a HarnessError that names it."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        raise HarnessError(f"{path} is not a readable Parquet file: {first_line(error)}") from None


def open_tables(path: str, paths: Sequence[str], column: str | None) -> Images:
    """List the images in the Parquet files `paths` of the collection `path`; see open_images."""
    splits = {PurePosixPath(p).name.split("-")[0] for p in paths if "-of-" in PurePosixPath(p).name}
    if len(splits) > 1:
        named = files.join(os.path.dirname(paths[0]), f"{min(splits)}-*.parquet")
        raise HarnessError(
            f"{path} holds the splits {', '.join(sorted(splits))}: name one, {named}"
        )
    base = os.path.commonpath([os.path.dirname(one) for one in paths])
    tables: list[_Table] = []
    entries: list[Entry] = []
    for one in paths:
        with _parquet(one) as file, _damage(one):
            schema = file.schema_arrow
            image = _image_column(schema, one, column)
            others = [f.name for f in schema if f.name != image and _plain(f.type)]
            unread = [f.name for f in schema if f.name not in (image, *others)]
            if unread and one == paths[0]:
                log.warning("%s: columns of types that are not read: %s", one, ", ".join(unread))
            rows = file.read(columns=others).to_pylist() if others else []
            names = _paths(file, schema, image)
            count = file.metadata.num_rows
        rows = rows or [{} for _ in range(count)]
        prefix = f"{os.path.relpath(one, base)}/" if len(paths) > 1 else ""
        stamp = files.stamp(one)
        for at, row in enumerate(rows):
            name = f"{prefix}{at:06d}" + (f"-{names[at]}" if names[at] else "")
            label = row.get("label")
            kept = label if isinstance(label, int) else None
            entries.append(Entry(name, f"{stamp}-{at}", None, kept, row))
        tables.append(_Table(one, image, count))
    if not entries:
        raise HarnessError(f"{path} holds no images: its table has no rows")
    return _Parquet(path, tables, entries)


def _plain(kind: pa.DataType) -> bool:
    """Whether a column holds text or numbers, as they are or as categories."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    return (
        pa.types.is_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
    )


def _paths(file: pq.ParquetFile, schema: pa.Schema, image: str) -> list[str | None]:
    """The names of the files that the images of a {bytes, path} column come from."""
    kind = schema.field(image).type
    if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0:
        return [None] * file.metadata.num_rows
    column = file.read(columns=[f"{image}.path"]).column(0).combine_chunks().field("path")
    return [PurePosixPath(path).name if path else None for path in column.to_pylist()]


def _image_column(schema: pa.Schema, path: str, asked: str | None) -> str:
    """The column that holds images: the one asked for, or the only one that may be meant."""
    if asked is not None:
        if asked not in schema.names:
            raise unknown("column", asked, schema.names, path)
        return asked
    pictures = [f.name for f in schema if _holds_pictures(f.type)]
    blobs = [
        f.name for f in schema if pa.types.is_binary(f.type) or pa.types.is_large_binary(f.type)
    ]
    usual = [name for name in pictures + blobs if name.lower() in _IMAGE_COLUMNS]
    for candidates in (pictures, usual, blobs):
        if len(candidates) == 1:
            return candidates[0]
    found = ", ".join(pictures + blobs) or f"none among {', '.join(schema.names)}"
    raise HarnessError(
        f"{path}: which column holds the images? Expected one of type {{bytes, path}} or of bytes "
        f"called {' or '.join(_IMAGE_COLUMNS)}, found {found}"
    )


def _holds_pictures(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
