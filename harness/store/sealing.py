"""A Parquet file that holds a hash of its own bytes, so that any change of it is noticed.

The hash stands in the file's key-value metadata as `content`, with the file's size: `SIZE-SHA256`,
both hexadecimal. It is of all bytes of the file, with these two as zeros. So it is the same for the
same table and library version, and covers the footer too, which page checksums do not.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from harness.core.errors import HarnessError

SMALL = 1 << 20
"""Bytes; a smaller file is checked whole, however little of it is read."""

CONTENT = "content"
_BLANK = b"0" * 12 + b"-" + b"0" * 64
_SCHEMA = b"ARROW:schema"


def sealed(table: pa.Table, rows: int | None = None) -> bytes:
    """The Parquet file of a table, with its seal; `rows` in a group (None: the library's number).

    A seal in the table's own metadata is of the file that it was read from, and is left out.
    """
    held = sorted((table.schema.metadata or {}).items())  # however they were put together
    table = table.replace_schema_metadata({k: v for k, v in held if k.decode() != CONTENT})
    buffer = io.BytesIO()
    write(buffer, table.schema, [table], rows)
    return buffer.getvalue()


def write(
    file: BinaryIO, schema: pa.Schema, tables: Iterable[pa.Table], rows: int | None = None
) -> None:
    """Write tables one after the other as one sealed Parquet file, each in row groups of its own.

    `file` is empty and can be read, too. No more than one of the tables is held.
    """
    with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
        for table in tables:
            writer.write_table(table, rows)
        writer.add_key_value_metadata({CONTENT: _BLANK.decode()})
    size = file.seek(0, os.SEEK_END)
    file.seek(size - 8)
    footer = file.seek(size - 8 - int.from_bytes(file.read(4), "little"))
    at = footer + file.read().rfind(_BLANK)  # the last: it was added after all else
    seal = _seal_of(file, size)
    file.seek(at)
    file.write(seal)


def read(path: str, columns: list[str] | None, data: bytes | None = None) -> pa.Table:
    """The table of a file, or of the `data` that were read from it, of these columns; None: all.

    Its content is checked: all of it where all is read or the file is small, once in a process
    while the file stays the same; and else the pages that are read, by their checksums.
    """
    seen = None if data is not None else version(os.stat(path))
    with damage(path):
        if seen is not None and _checked.get(path) != seen and _whole(path, columns):
            data = Path(path).read_bytes()
        with _opened(path, data) as file:
            held = _metadata(file)
            if data is not None and (reason := _changed(data, held)):
                raise pa.ArrowInvalid(reason)
            table = file.read(columns, use_threads=False).replace_schema_metadata(held)
    if seen is not None and data is not None:
        _checked[path] = seen
    return table if columns is None else table.select(columns)


def opened(path: str, data: bytes | None = None) -> pq.ParquetFile:
    """A file, or the `data` that were read from it, open to be read piece by piece.

    Its content is checked: all of `data` and of a small file at once, else pages as they are read.
    """
    if data is None and os.path.getsize(path) <= SMALL:
        data = Path(path).read_bytes()
    if data is None:
        footer(path)  # checks its size
    with damage(path):
        source = pa.OSFile(path) if data is None else pa.BufferReader(data)
        file = pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=data is None)
        if data is not None and (reason := _changed(data, _metadata(file))):
            raise pa.ArrowInvalid(reason)
    return file


def salvaged(path: str, columns: list[str]) -> pa.Table | None:
    """Columns of a local file whatever its seal says; None where they cannot be read."""
    try:
        with damage(path), _opened(path, None) as file:
            held = file.read(columns, use_threads=False).select(columns)
            return held.replace_schema_metadata(_metadata(file))
    except (HarnessError, OSError, KeyError):
        return None


def footer(path: str) -> dict[str, str]:
    """The key-value metadata of a local file; checks the file's size, not what is in it."""
    return dict(_footer(path, version(os.stat(path))))


def version(state: os.stat_result) -> str:
    """Changes whenever a local file does, whether or not its time of change is set back."""
    return f"{state.st_size}-{state.st_mtime_ns}-{state.st_ctime_ns}-{state.st_ino}"


_checked: dict[str, str] = {}
"""Versions of files that were found whole."""


def _whole(path: str, columns: list[str] | None) -> bool:
    return columns is None or os.path.getsize(path) <= SMALL


@lru_cache(1 << 14)
def _footer(path: str, version: str) -> dict[str, str]:
    with damage(path), _opened(path, None) as file:
        held = _metadata(file)
        seal, size = held.get(CONTENT.encode()), os.path.getsize(path)
        if seal is not None and seal[:12] != f"{size:012x}".encode():
            raise pa.ArrowInvalid(f"it has {size:,} bytes, not as many as were written")
        return {key.decode(): value.decode() for key, value in held.items()}


@contextmanager
def _opened(path: str, data: bytes | None) -> Iterator[pq.ParquetFile]:
    """An open file; one that is not checked whole is by its pages."""
    with (
        pa.OSFile(path) if data is None else pa.BufferReader(data) as source,
        pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=data is None) as file,
    ):
        yield file


@contextmanager
def damage(path: str) -> Iterator[None]:
    """Turn what Arrow says of a damaged file into one message."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system, not of Parquet
            raise
        reason = str(error).partition("\n")[0].rstrip(".")
        raise HarnessError(
            f"{path} is damaged: {reason}. Remove it and run again what wrote it; "
            "in a run's folder, `harness doctor FOLDER --repair` does both"
        ) from None


def _metadata(file: pq.ParquetFile) -> dict[bytes, bytes]:
    """The key-value metadata of an open file, but for Arrow's own."""
    held: dict[bytes, bytes] = file.metadata.metadata or {}
    return {key: value for key, value in held.items() if key != _SCHEMA}


def _changed(data: bytes, metadata: Mapping[bytes, bytes]) -> str | None:
    """Why `data` is not the file that was written; None if it is, or has no seal."""
    seal = metadata.get(CONTENT.encode())
    if seal is None:
        return None
    at = data.rfind(seal)
    if len(seal) != len(_BLANK) or at < 0 or _seal(data, at) != seal:
        return "its content is not what was written"
    return None


def _seal(data: bytes, at: int) -> bytes:
    """The seal of a file whose own seal, or the place for it, is at `at`."""
    view = memoryview(data)
    digest = hashlib.sha256(view[:at])
    digest.update(_BLANK)
    digest.update(view[at + len(_BLANK) :])
    return _mark(len(data), digest.hexdigest())


def _seal_of(file: BinaryIO, size: int) -> bytes:
    """The seal of an open file of `size` bytes, in which the place for it is blank."""
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(SMALL):
        digest.update(piece)
    return _mark(size, digest.hexdigest())


def _mark(size: int, digest: str) -> bytes:
    return f"{size:012x}-{digest}".encode()
