"""Files that exist only if complete, on a disk or behind any fsspec URL."""

from __future__ import annotations

import glob as globbing
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import pandas as pd
import pyarrow as pa

from harness.core.errors import HarnessError, NothingMade
from harness.store import leftovers, sealing
from harness.store.uploads import upload, upload_file, upload_new
from harness.store.urls import file_system, is_url, on

T = TypeVar("T")

_READERS = 16
"""Files read from a network at a time."""

_SETTLED = 2_000_000_000
"""Nanoseconds; some file systems count whole seconds."""

_VERSIONS = ("ETag", "etag", "generation", "created")
"""What stores behind a URL call a file's version, each in its own way."""


class Keeper(Protocol):
    """Says whether a folder may still be written to; see ownership.py."""

    @property
    def path(self) -> str: ...

    def check(self) -> None:
        """Raise HarnessError where it may not."""


def join(base: str, *parts: str) -> str:
    """A path below `base`, which is a local path or a URL."""
    return "/".join([base.rstrip("/"), *parts])


def parent(path: str) -> str:
    """The folder that a file or folder is in."""
    if is_url(path):
        return path.rstrip("/").rpartition("/")[0]
    return os.path.dirname(path.rstrip("/")) or os.path.dirname(os.path.abspath(path))


def same_place(path: str, other: str) -> bool:
    """Whether two paths lead to one place, however they are written."""
    if is_url(path) or is_url(other):
        return path.rstrip("/") == other.rstrip("/")
    return os.path.realpath(path) == os.path.realpath(other)


def exists(path: str) -> bool:
    """Whether there is a file or folder."""
    return on(path, os.path.exists, lambda fs, inner: bool(fs.exists(inner)))


def list_files(folder: str, suffix: str) -> list[str]:
    """Names (not paths) of the files in `folder` that end in `suffix`, sorted; none if absent."""
    found = on(folder, lambda p: os.listdir(p) if os.path.isdir(p) else [], _listed)
    return sorted(name for name in found if name.endswith(suffix) and not name.startswith("."))


def _listed(fs: Any, inner: str) -> list[str]:
    return [Path(p).name for p in fs.ls(inner, detail=False)] if fs.exists(inner) else []


def stamps(folder: str, suffix: str) -> dict[str, str | None]:
    """A version stamp of each file that `list_files` names, which changes when it is written anew.

    None where nothing identifies the version: a file of the last seconds, as one written next could
    be as old by the clock of its file system, or a store that has no versions of its files.
    """
    found = on(folder, lambda p: _changes(p) if os.path.isdir(p) else {}, _versions)
    return {
        name: found[name]
        for name in sorted(found)
        if name.endswith(suffix) and not name.startswith(".")
    }


def _changes(folder: str) -> dict[str, str | None]:
    settled = time.time_ns() - _SETTLED
    found: dict[str, str | None] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                state = entry.stat()
            except FileNotFoundError:  # renamed or removed since
                continue
            found[entry.name] = sealing.version(state) if state.st_mtime_ns < settled else None
    return found


def _versions(fs: Any, inner: str) -> dict[str, str | None]:
    listed = fs.ls(inner, detail=True) if fs.exists(inner) else []
    return {Path(info["name"]).name: _version(info) for info in listed}


def _version(info: dict[str, Any]) -> str | None:
    known = next((info[name] for name in _VERSIONS if info.get(name)), None)
    return None if known is None else f"{info['size']}-{known}"


def is_folder(path: str) -> bool:
    """Whether there is a folder."""
    return on(path, os.path.isdir, lambda fs, inner: bool(fs.isdir(inner)))


def walk(folder: str) -> list[tuple[str, str]]:
    """(name, stamp) of every file below a folder, by name ("a/b.png"); see `stamp`.

    Links are followed, each folder is entered once.
    """
    return on(folder, _walked, _found)


def _found(fs: Any, inner: str) -> list[tuple[str, str]]:
    return sorted((p[len(inner) :].lstrip("/"), fs.ukey(p)) for p in fs.find(inner, detail=True))


def _walked(folder: str) -> list[tuple[str, str]]:
    names: list[tuple[str, str]] = []
    seen: set[str] = set()
    for at, inside, here in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        if real in seen:
            inside.clear()
            continue
        seen.add(real)
        inside.sort()
        prefix = os.path.relpath(at, folder)
        for name in here:
            path = os.path.join(at, name)
            if os.path.exists(path):  # a link may lead nowhere
                relative = name if prefix == "." else f"{prefix}/{name}".replace(os.sep, "/")
                names.append((relative, stamp(path)))
    return sorted(names)


def glob(pattern: str) -> list[str]:
    """The files of a pattern with `*`, sorted."""
    return on(
        pattern,
        lambda path: sorted(globbing.glob(path, recursive=True)),
        lambda fs, inner: sorted(fs.unstrip_protocol(match) for match in fs.glob(inner)),
    )


def stamp(path: str) -> str:
    """A file's version stamp: its size and time of change, or the remote store's own version."""
    return on(path, lambda p: _changed(os.stat(p)), lambda fs, inner: str(fs.ukey(inner)))


def _changed(state: os.stat_result) -> str:
    return f"{state.st_size}-{state.st_mtime_ns}"


def size(path: str) -> int:
    """Length of a file in bytes."""
    return on(path, os.path.getsize, lambda fs, inner: int(fs.size(inner)))


def open_binary(path: str) -> BinaryIO:
    """A file opened for reading at any place."""
    return on(path, lambda p: open(p, "rb"), lambda fs, inner: fs.open(inner, "rb"))


def remove(path: str) -> None:
    """Remove a file, if it is there."""
    if is_url(path):
        fs, inner = file_system(path)
        if fs.exists(inner):
            fs.rm_file(inner)
        return
    Path(path).unlink(missing_ok=True)


def read_bytes(path: str) -> bytes:
    """The content of a file."""
    return on(path, lambda p: Path(p).read_bytes(), lambda fs, inner: bytes(fs.cat_file(inner)))


def write_bytes(path: str, data: bytes, keeper: Keeper | None = None) -> None:
    """Write all of `data` or nothing: temporary name, flush to disk, rename.

    Of a file in a folder with a `keeper`, this is asked before the rename, and the folder itself is
    not made. What killed writers left beside the file is removed, see leftovers.py.
    """
    if keeper:
        keeper.check()
    if is_url(path):
        on(path, _not_local, partial(upload, data=data))
        return
    write_local(path, lambda file: file.write(data), keeper)


def write_local(path: str, fill: Callable[[BinaryIO], object], keeper: Keeper | None) -> None:
    """`write_bytes` of what `fill` writes into an open file of this machine."""
    temporary = _temporary(path, fill, keeper)
    try:
        if keeper:
            keeper.check()
        os.replace(temporary, path)
    except FileNotFoundError:  # the folder was removed meanwhile
        raise _removed(path, keeper) from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def put(local: str, path: str) -> None:
    """Copy a file of this machine to a URL."""
    on(path, _not_local, partial(upload_file, path=local))


def _not_local(path: str) -> bool:
    raise AssertionError(path)


def write_new(path: str, data: bytes, keeper: Keeper | None = None) -> bool:
    """`write_bytes` of a file that must not be there yet; False, and nothing done, if it is.

    Of several processes that try at once, one writes it, as far as its store knows how. A `keeper`
    is asked first.
    """
    if keeper:
        keeper.check()
    if is_url(path):
        return on(path, _not_local, partial(upload_new, data=data))
    temporary = _temporary(path, lambda file: file.write(data), keeper)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return True


def _temporary(path: str, fill: Callable[[BinaryIO], object], keeper: Keeper | None) -> str:
    """A file beside `path`, with what `fill` writes into it, flushed to disk."""
    folder, name = os.path.split(os.path.abspath(path))
    try:
        _make_folder(folder, keeper)
        leftovers.sweep_once(folder)
        handle, temporary = tempfile.mkstemp(".part", leftovers.prefix(name), folder)
    except FileNotFoundError:
        raise _removed(path, keeper) from None
    except OSError as error:
        if keeper:
            keeper.check()
        raise HarnessError(f"cannot write {path}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "w+b") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise HarnessError(f"cannot write {path}: {error.strerror or error}") from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return temporary


def _removed(path: str, keeper: Keeper | None) -> HarnessError:
    """What to raise where the folder of a file went away; one that is half gone counts as gone."""
    if keeper:
        keeper.check()
        return NothingMade(
            f"{keeper.path} is being removed: stopped, and nothing more is written there. "
            "Run it again"
        )
    return HarnessError(f"cannot write {path}: its folder was removed")


def _make_folder(folder: str, keeper: Keeper | None) -> None:
    """Make a folder with those above it; below a keeper's folder only, where there is one."""
    root = Path(os.path.abspath(keeper.path)) if keeper else None
    if root is None or not Path(folder).is_relative_to(root):
        Path(folder).mkdir(parents=True, exist_ok=True)
        return
    at = root
    for part in Path(folder).relative_to(root).parts:
        at = at / part
        at.mkdir(exist_ok=True)


def write_text(path: str, text: str, keeper: Keeper | None = None) -> None:
    """`write_bytes` of UTF-8."""
    write_bytes(path, text.encode(), keeper)


def as_json(value: Any) -> str:
    """JSON-like `value` as `write_json` writes it."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_json(path: str, value: Any, keeper: Keeper | None = None) -> None:
    """Write JSON-like `value`, atomically."""
    write_text(path, as_json(value), keeper)


def read_json(path: str) -> Any:
    """The content of a JSON file; raises HarnessError for one that is damaged."""
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"{path} is damaged: {error}") from None


def write_table(
    path: str,
    table: pa.Table,
    metadata: dict[str, str] | None = None,
    rows: int | None = None,
    keeper: Keeper | None = None,
) -> None:
    """Write `table` as Parquet, atomically, `rows` in a group (None: the library's number).

    `metadata` is added to the schema's own, and a hash of the file's content, see sealing.py.

    The bytes depend on the table and on the library's version alone.
    """
    if metadata:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    write_bytes(path, sealing.sealed(table, rows), keeper)


def read_table(path: str, columns: list[str] | None = None) -> pa.Table:
    """The table at `path`, of these columns in this order; None: all. See also `metadata`.

    Its content is checked, see `sealing.read`.

    Without threads and read-ahead: a shard is small, and starting them costs more than it saves;
    so does looking for the file system of a path, which is known here.

    Raises HarnessError for a damaged file, OSError for one that cannot be opened.
    """
    return sealing.read(path, columns, read_bytes(path) if is_url(path) else None)


def read_metadata(path: str) -> dict[str, str]:
    """The key-value metadata of a Parquet file, from its footer; checks the file's size."""
    return metadata(read_table(path, [])) if is_url(path) else sealing.footer(path)


def read_tables(paths: Sequence[str], columns: list[str] | None = None) -> list[pa.Table]:
    """`read_table` of many files, in their order.

    Of a network several at a time. Of a disk one after the other: threads take two or three times
    as long for small files, waiting for Python's lock.
    """
    if not any(map(is_url, paths)):
        return [read_table(path, columns) for path in paths]
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(partial(read_table, columns=columns), paths))


def metadata(table: pa.Table) -> dict[str, str]:
    """The key-value metadata of the file that a table was read from."""
    return {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}


def write_frame(path: str, frame: pd.DataFrame, metadata: dict[str, str] | None = None) -> None:
    """Write the columns of a pandas table as Parquet, atomically; its index is left out."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    write_table(path, table, metadata)


def read_frame(path: str, columns: list[str] | None = None) -> pd.DataFrame:
    """`read_table` as a DataFrame."""
    return read_table(path, columns).to_pandas()


def file_name(*parts: str) -> str:
    """A name that is safe in a file system and as an id, for any text."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
