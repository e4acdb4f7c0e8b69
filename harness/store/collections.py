"""Anybody's images: a folder, a zip, or Parquet, as an ordered list that is read lazily.

Nothing is unpacked. A picture of a folder or zip is named by a path or by an fsspec URL
(`zip://a/b.png::/data/x.zip`), which `datasets` and this module's `read_image` open.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.core.errors import HarnessError, unknown
from harness.store import files
from harness.store.pictures import MOST_BYTES, Broken, Unread, decode

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif",
)  # fmt: skip
SIDECARS = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Names of the tables that describe the images beside them, with a column `file_name`."""

LABELS = "dataset.json"
"""EDM's table of class labels: {"labels": [["00000/img00000000.png", 3], ...]}."""

_IMAGE_COLUMNS = ("image", "img", "png", "jpg", "picture")
_ROWS = 32  # of a Parquet file, held in memory at once


@dataclass(frozen=True)
class Entry:
    """One image. `name` is its path inside of the collection; `stamp` changes when it changes.

    `url` names its file (None: it is embedded in a table). `label` is its class, where known;
    `columns` are the other columns of its row in a table.
    """

    name: str
    stamp: str
    url: str | None
    label: int | None = None
    columns: dict[str, Any] = field(default_factory=dict)


class Images(ABC):
    """The images of a collection, in the order of their names or rows. Made by `open_images`.

    Iterating gives (name, pixels uint8 [3, H, W]), or (name, Broken) for what is no picture.
    """

    def __init__(self, path: str, entries: Sequence[Entry]) -> None:
        self.path = path
        self.entries = entries

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[tuple[str, NDArray[Any] | Broken]]:
        for entry, data in self.read(0, len(self)):
            yield entry.name, data if isinstance(data, Broken) else decode(data)

    @property
    def identity(self) -> str:
        """Hash of all names and stamps: another one when an image is added, lost or changed."""
        digest = hashlib.sha256()
        for entry in self.entries:
            digest.update(json.dumps([entry.name, entry.stamp]).encode())
        return digest.hexdigest()

    @abstractmethod
    def read(self, start: int, stop: int) -> Iterator[tuple[Entry, bytes | Broken]]:
        """The files' bytes of a slice of the entries, one by one."""

    def sidecars(self) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of the tables beside the images (SIDECARS), in any folder of it."""
        yield from ()


def open_images(path: str, column: str | None = None) -> Images:
    """The images of `path`, a local path or fsspec URL: which there are, without reading them.

    A folder is searched through all its folders for files that end in SUFFIXES; hidden ones are
    left out, and a folder that links back to itself is entered once. A zip likewise. Either may
    hold EDM's `dataset.json`. Parquet is a file, a folder with nothing but such files, or a pattern
    (`data/test-*.parquet`); its images are in the column `column`, or the only one that holds
    {bytes, path} or, by a usual name, bytes.

    Raises HarnessError if there is nothing to read, or two images have one name.
    """
    if path.lower().endswith(".zip"):
        return _checked(_open_zip(path))
    if path.lower().endswith(".parquet"):
        return _checked(_open_parquet(path, _matching(path), column))
    if not files.is_folder(path):
        raise HarnessError(
            f"there are no images at {path}: expected a folder, a .zip or a .parquet file"
        )
    found = files.walk(path)
    if any(is_image(name) for name, _ in found):
        return _checked(_open_folder(path, found))
    tables = [name for name, _ in found if name.endswith(".parquet") and not _hidden(name)]
    if not tables:
        raise HarnessError(
            f"{path} holds no images: none of its {len(found)} files ends in "
            f"{', '.join(SUFFIXES)} or .parquet"
        )
    return _checked(_open_parquet(path, [files.join(path, name) for name in tables], column))


def read_image(url: str) -> bytes | Broken:
    """The bytes of a file that `Entry.url` names, or why they cannot be had."""
    try:
        if url.startswith("zip://"):
            member, _, archive = url.removeprefix("zip://").partition("::")
            return _read_member(_zip(archive, files.stamp(archive)), member)
        if files.size(url) > MOST_BYTES:
            return Broken(f"too large: its file is longer than {MOST_BYTES:,} bytes")
        return files.read_bytes(url)
    except OSError as error:
        return Unread(f"cannot read {url}: {error.strerror or error}")


def current_stamp(url: str) -> str | None:
    """The stamp that an entry of this `url` has now; None if it is gone."""
    try:
        if not url.startswith("zip://"):
            return files.stamp(url)
        member, _, archive = url.removeprefix("zip://").partition("::")
        return _member_stamp(_zip(archive, files.stamp(archive)).getinfo(member))
    except (OSError, KeyError, HarnessError):
        return None


def _checked(images: Images) -> Images:
    seen: set[str] = set()
    for entry in images.entries:
        if entry.name in seen:
            raise HarnessError(
                f"{images.path} holds two images with the name {entry.name!r}: remove one"
            )
        seen.add(entry.name)
    return images


def is_image(name: str) -> bool:
    """Whether a file of this name, relative to its collection, is taken for an image."""
    return name.lower().endswith(SUFFIXES) and not _hidden(name)


def _hidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in parts)


def _is_sidecar(name: str) -> bool:
    return PurePosixPath(name).name in SIDECARS and not _hidden(name)


def _labels(data: bytes, where: str) -> dict[str, int]:
    """The class of each image by name; empty where the table has none (`{"labels": null}`)."""
    try:
        labels = json.loads(data)["labels"]
        return {str(name): int(label) for name, label in labels or []}
    except (ValueError, TypeError, KeyError):
        raise HarnessError(
            f"{where} is no table of labels: expected "
            '{"labels": [["NAME.png", 3], ...]} or {"labels": null}'
        ) from None


class _Referenced(Images):
    """Images that are files of their own, on a disk or in a zip."""

    def __init__(self, path: str, entries: Sequence[Entry], tables: dict[str, str]) -> None:
        super().__init__(path, entries)
        self._tables = tables

    def read(self, start: int, stop: int) -> Iterator[tuple[Entry, bytes | Broken]]:
        for entry in self.entries[start:stop]:
            assert entry.url is not None
            yield entry, read_image(entry.url)

    def sidecars(self) -> Iterator[tuple[str, bytes]]:
        for name, url in self._tables.items():
            data = read_image(url)
            if isinstance(data, Broken):
                raise HarnessError(f"{self.path}: {name}: {data.reason}")
            yield name, data


def _open_folder(path: str, found: Sequence[tuple[str, str]]) -> Images:
    base = path if "://" in path else os.path.abspath(path)
    stamps = dict(found)
    urls = {name: files.join(base, name) for name in stamps}
    labels = _labels(files.read_bytes(urls[LABELS]), urls[LABELS]) if LABELS in urls else {}
    entries = [
        Entry(name, stamps[name], urls[name], labels.get(name)) for name in urls if is_image(name)
    ]
    sidecars = {name: url for name, url in urls.items() if _is_sidecar(name)}
    return _Referenced(path, entries, sidecars)


def _open_zip(path: str) -> Images:
    if not files.exists(path):
        raise HarnessError(f"there is no file {path}")
    base = path if "://" in path else os.path.abspath(path)
    archive = _zip(base, files.stamp(base))
    members = sorted(
        (info for info in archive.infolist() if not info.is_dir()), key=lambda info: info.filename
    )
    by_name = {info.filename: info for info in members}
    labels: dict[str, int] = {}
    if LABELS in by_name:
        data = _read_member(archive, LABELS)
        labels = {} if isinstance(data, Broken) else _labels(data, f"{path}: {LABELS}")
    entries = [
        Entry(
            info.filename,
            _member_stamp(info),
            f"zip://{info.filename}::{base}",
            labels.get(info.filename),
        )
        for info in members
        if is_image(info.filename)
    ]
    if not entries:
        raise HarnessError(
            f"{path} holds no images: none of its {len(members)} files ends in "
            f"{', '.join(SUFFIXES)}"
        )
    if odd := [entry.name for entry in entries if "::" in entry.name]:
        raise HarnessError(f"{path}: the name {odd[0]!r} holds '::': rename it")
    sidecars = {name: f"zip://{name}::{base}" for name in by_name if _is_sidecar(name)}
    return _Referenced(path, entries, sidecars)


@lru_cache(maxsize=8)
def _zip(path: str, stamp: str) -> zipfile.ZipFile:
    """The opened zip; its table of contents is read once for each state of the file."""
    try:
        return zipfile.ZipFile(files.open_binary(path))
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        raise HarnessError(f"{path} does not open as a zip: {error}") from None


def _member_stamp(info: zipfile.ZipInfo) -> str:
    return f"{info.file_size}-{info.CRC:08x}"


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes | Broken:
    try:
        info = archive.getinfo(name)
        if info.file_size > MOST_BYTES:
            return Broken(f"too large: its file is longer than {MOST_BYTES:,} bytes")
        if info.flag_bits & 1:
            return Broken("broken image: encrypted")
        return archive.read(info)
    except KeyError:
        return Unread(f"there is no {name} in the zip any more")
    except Exception as error:  # zlib's, lzma's and zipfile's own errors have no common base
        return Broken(f"broken image: {error}")


def _matching(pattern: str) -> list[str]:
    """The files of a path, or of a pattern with `*`."""
    if files.exists(pattern):
        return [pattern]
    found = files.glob(pattern)
    if not found:
        raise HarnessError(f"there is no file {pattern}")
    return found


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
        with _parquet(self.path) as file:
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
        """The file that a row names: in the table's folder, a local path, or in a local zip."""
        _, _, place = path.rpartition("::")
        if "://" in place or ("://" in path and not path.startswith("zip://")):
            return Broken(f"its file is not read from elsewhere: {path}")
        if "::" in path or os.path.isabs(path) or "://" in self.path:
            return read_image(path)
        return read_image(files.join(os.path.dirname(os.path.abspath(self.path)), path))


def _parquet(path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(files.open_binary(path))
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise HarnessError(f"{path} is not a readable Parquet file: {reason}") from None


def _open_parquet(path: str, paths: Sequence[str], column: str | None) -> Images:
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
        with _parquet(one) as file:
            schema = file.schema_arrow
            image = _image_column(schema, one, column)
            others = [f.name for f in schema if f.name != image and _plain(f.type)]
            rows = file.read(columns=others).to_pylist() if others else []
            names = _paths(file, schema, image)
            count = file.metadata.num_rows
        rows = rows or [{} for _ in range(count)]
        prefix = f"{os.path.relpath(one, base)}/" if len(paths) > 1 else ""
        stamp = files.stamp(one)
        for at, row in enumerate(rows):
            name = f"{prefix}{at:06d}" + (f"-{names[at]}" if names[at] else "")
            label = row.get("label")
            label = label if isinstance(label, int) else None
            entries.append(Entry(name, f"{stamp}-{at}", None, label, row))
        tables.append(_Table(one, image, count))
    if not entries:
        raise HarnessError(f"{path} holds no images: its table has no rows")
    return _Parquet(path, tables, entries)


def _plain(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
    )


def _paths(file: pq.ParquetFile, schema: pa.Schema, image: str) -> list[str | None]:
    """The names of the files that the images of a {bytes, path} column come from."""
    kind = schema.field(image).type
    if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0:
        return [None] * file.metadata.num_rows
    column = file.read(columns=[f"{image}.path"]).column(0).combine_chunks()
    paths = column.field("path").to_pylist()
    return [PurePosixPath(path).name if path else None for path in paths]


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
