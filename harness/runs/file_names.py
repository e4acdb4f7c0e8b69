"""Which image a row of a table means, by the name of a file as people write it."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from harness.core.errors import HarnessError
from harness.store.collections import SUFFIXES
from harness.store.image_files import Entry

FILE_COLUMNS = (
    "file", "file_name", "filename", "image", "path", "image_path", "img_path", "image_file",
    "image_name", "image_filename", "file_path", "filepath", "img", "img_name",
)  # fmt: skip
"""Usual names of the column that names files, the likeliest first."""


class FileNames:
    """Looks images up by a name in a table.

    That is the image's path in its collection, or a path that ends in it (the table was written
    where the images were made) or that it ends in; the ending may be missing, and a number may lack
    its zeros. What fits several images means none of them.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._exact: dict[str, Entry] = {}
        self._by_base: dict[str, list[Entry]] = defaultdict(list)
        self._by_stem: dict[str, list[Entry]] = defaultdict(list)
        self._by_number: dict[int, list[Entry]] = defaultdict(list)
        for entry in entries:
            path = PurePosixPath(entry.name)
            self._exact[entry.name] = entry
            self._by_base[path.name].append(entry)
            self._by_stem[path.stem].append(entry)
            if _is_number(path.stem):
                self._by_number[int(path.stem)].append(entry)

    def find(self, given: Any) -> Entry | None:
        """The image of this name; None where there is none. Raises HarnessError for several."""
        name = _text(given)
        if name is None:
            return None
        if name in self._exact:
            return self._exact[name]
        base = PurePosixPath(name).name
        found = [e for e in self._by_base.get(base, ()) if _ends_alike(name, e.name)]
        if not found:
            found = [e for e in self._by_stem.get(base, ()) if _ends_alike(name, _bare(e.name))]
        if not found and _is_number(name):
            found = self._by_number.get(int(name), [])
        if len(found) > 1:
            best = max(_shared(name, entry.name) for entry in found)
            found = [entry for entry in found if _shared(name, entry.name) == best]
        if len(found) > 1:
            both = " and ".join(repr(entry.name) for entry in found[:2])
            raise HarnessError(f"{name!r} may be {both}: write the whole path in the collection")
        return found[0] if found else None


def _text(given: Any) -> str | None:
    """A name as a path with slashes; None for what is no name."""
    if isinstance(given, bool) or not isinstance(given, str | int):
        return None
    text = str(given) if isinstance(given, str) or abs(given) < 1 << 63 else ""
    text = text.strip().replace("\\", "/")
    return posixpath.normpath(text) if text and "\0" not in text else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _bare(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _ends_alike(one: str, other: str) -> bool:
    """Whether one path is the end of the other."""
    return f"/{one}".endswith(f"/{other}") or f"/{other}".endswith(f"/{one}")


def _shared(one: str, other: str) -> int:
    """How many last parts two paths have in common."""
    pairs = zip(reversed(PurePosixPath(one).parts), reversed(PurePosixPath(other).parts))  # noqa: B905
    count = 0
    for a, b in pairs:
        if a != b and PurePosixPath(b).stem != a:
            break
        count += 1
    return count


def file_column(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The column that names files: one of a usual name, or else one whose every value ends as a
    picture's file does. None where there is none."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    held = {_plain(key): key for key in reversed(columns)}
    for name in FILE_COLUMNS:
        if name in held and any(_text(row.get(held[name])) for row in rows):
            return held[name]
    for key in columns:
        values = [value for row in rows if (value := row.get(key)) not in (None, "")]
        if values and all(isinstance(v, str) and v.lower().endswith(SUFFIXES) for v in values):
            return key
    return None


def id_column(rows: Sequence[Mapping[str, Any]], entries: Sequence[Entry]) -> str | None:
    """A column of ids that are the names of the images, each of which has exactly one row."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    held = {_plain(key): key for key in reversed(columns)}
    names = FileNames(entries)
    for name in ("prompt_id", "id", "uid", "image_id", "img_id", "index", "idx"):
        if name not in held:
            continue
        try:
            found = [entry for row in rows if (entry := names.find(row.get(held[name])))]
        except HarnessError:
            continue
        if len(found) == len({entry.name for entry in found}) == len(entries):
            return held[name]
    return None


def _plain(column: str) -> str:
    return column.strip().lower().replace(" ", "_").replace("-", "_")
