"""Image collections made elsewhere: a folder, a zip or Parquet, as a list that is read lazily.

Nothing is unpacked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from harness.core.errors import HarnessError
from harness.store import files
from harness.store.boundary import Boundary
from harness.store.image_arrays import ARRAYS, open_arrays
from harness.store.image_files import Entry, Images, member_stamp, open_zip, read_image, read_member
from harness.store.image_tables import open_tables
from harness.store.image_tars import TarImages, TarMember, tar_members
from harness.store.pictures import Broken

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif",
    ".jfif", ".jpe",
)  # fmt: skip
CAPTIONS = (".txt", ".caption")
"""Endings of a text beside an image of the same name, which is its prompt."""

SIDECARS = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Names of the tables that describe the images beside them, with a column `file_name`."""

LABELS = "dataset.json"
"""EDM's table of class labels: {"labels": [["00000/img00000000.png", 3], ...]}."""


def open_images(path: str, column: str | None = None) -> Images:
    """List the images of `path`, a local path or fsspec URL, without reading them.

    A folder is searched through all its folders for files that end in SUFFIXES; hidden ones are
    left out, and a folder that links back to itself is entered once; links and names that lead out
    of it are refused. A zip likewise. Either may hold EDM's `dataset.json`. A tar, a pattern of
    them (`shards/*.tar`) or a folder with nothing but them, and `.npz` and `.npy` (see
    image_arrays.py) are read without unpacking. Parquet is a file, a folder with nothing but such
    files, or a pattern (`data/test-*.parquet`); its images are in the column `column`, or the only
    one that holds {bytes, path} or, by a usual name, bytes.

    Raises HarnessError if there is nothing to read, or two images have one name.
    """
    if path.lower().endswith(".zip"):
        return _checked(_open_zip(path))
    if path.lower().endswith(ARRAYS):
        return open_arrays(path)
    if path.lower().endswith(".tar"):
        return _checked(_open_tars(path, _matching(path)))
    if path.lower().endswith(".parquet"):
        return _checked(open_tables(path, _matching(path), column))
    if not files.is_folder(path):
        raise HarnessError(
            f"there are no images at {path}: expected a folder, or a file .zip, .tar, .parquet, "
            f"or .npz{_packed(path)}"
        )
    found = files.walk(path)
    if any(is_image(name) for name, _ in found):
        return _checked(_open_folder(path, found))
    tars, tables = (
        [name for name, _ in found if name.lower().endswith(ending) and not _hidden(name)]
        for ending in (".tar", ".parquet")
    )
    if tars and not tables:
        return _checked(_open_tars(path, [files.join(path, name) for name in tars]))
    if not tables:
        raise HarnessError(
            f"{path} holds no images: none of its {len(found)} files ends in "
            f"{', '.join(SUFFIXES)}, .tar or .parquet"
        )
    return _checked(open_tables(path, [files.join(path, name) for name in tables], column))


def _packed(path: str) -> str:
    """What to do with an archive of another kind."""
    packed = path.lower().endswith((".tar.gz", ".tgz", ".tar.xz", ".7z", ".rar", ".gz"))
    return ". Unpack it first" if packed else ""


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
    """Whether a file of this name, relative to its collection, counts as an image."""
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
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        raise HarnessError(
            f"{where} is no table of labels: expected "
            '{"labels": [["NAME.png", 3], ...]} or {"labels": null}'
        ) from None


def _matching(pattern: str) -> list[str]:
    """The files of a path, or of a pattern with `*`."""
    if files.exists(pattern):
        return [pattern]
    if matches := files.glob(pattern):
        return matches
    raise HarnessError(f"there is no file {pattern}")


class _Referenced(Images):
    """Images that are files of their own, on a disk or in a zip."""

    def __init__(
        self, path: str, entries: Sequence[Entry], tables: dict[str, str], texts: dict[str, str]
    ) -> None:
        super().__init__(path, entries)
        self._tables, self._texts = tables, texts

    def read(self, start: int, stop: int) -> Iterator[tuple[Entry, bytes | Broken]]:
        for entry in self.entries[start:stop]:
            assert entry.url is not None
            yield entry, read_image(entry.url)

    def sidecars(self) -> Iterator[tuple[str, bytes]]:
        yield from self._contents(self._tables)

    def captions(self) -> Iterator[tuple[str, bytes]]:
        yield from self._contents(self._texts)

    def _contents(self, urls: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
        for name, url in urls.items():
            data = read_image(url)
            if isinstance(data, Broken):
                raise HarnessError(f"{self.path}: {name}: {data.reason}")
            yield name, data


def _is_read(name: str) -> bool:
    return is_image(name) or _is_sidecar(name) or name == LABELS or name.lower().endswith(CAPTIONS)


def _check_inside(folder: str, paths: Mapping[str, str]) -> None:
    """Raise HarnessError for a file of a folder that is none, or that a link has elsewhere."""
    boundary = Boundary(folder)
    for name, path in paths.items():
        if reason := boundary.problem(path):
            raise HarnessError(
                f"{folder} holds {name}, which is not read: {reason}. Put the file itself there, "
                "or remove it"
            )


def _open_folder(path: str, found: Sequence[tuple[str, str]]) -> Images:
    base = path if "://" in path else os.path.abspath(path)
    stamps = dict(found)
    urls = {name: files.join(base, name) for name in stamps}
    if "://" not in base:
        _check_inside(base, {n: url for n, url in urls.items() if _is_read(n)})
    labels = _labels(files.read_bytes(urls[LABELS]), urls[LABELS]) if LABELS in urls else {}
    entries = [
        Entry(name, stamps[name], urls[name], labels.get(name)) for name in urls if is_image(name)
    ]
    sidecars = {name: url for name, url in urls.items() if _is_sidecar(name)}
    return _Referenced(path, entries, sidecars, {n: urls[n] for n in _captions(urls, entries)})


def _open_zip(path: str) -> Images:
    if not files.exists(path):
        raise HarnessError(f"there is no file {path}")
    base = path if "://" in path else os.path.abspath(path)
    archive = open_zip(base, files.stamp(base))
    members = sorted(
        (info for info in archive.infolist() if not info.is_dir()), key=lambda info: info.filename
    )
    by_name = {info.filename: info for info in members}
    labels: dict[str, int] = {}
    if LABELS in by_name:
        data = read_member(archive, LABELS)
        labels = {} if isinstance(data, Broken) else _labels(data, f"{path}: {LABELS}")
    entries = [
        Entry(
            info.filename,
            member_stamp(info),
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
    texts = {name: f"zip://{name}::{base}" for name in _captions(by_name, entries)}
    return _Referenced(path, entries, sidecars, texts)


def _open_tars(path: str, paths: Sequence[str]) -> Images:
    """The images of a tar, or of a folder of tars, each by its tar's name and its own."""
    members: dict[str, TarMember] = {}
    for one in paths:
        prefix = f"{PurePosixPath(one).name.removesuffix('.tar')}/" if len(paths) > 1 else ""
        for member in tar_members(one):
            if members.setdefault(prefix + member.name, member) is not member:
                raise HarnessError(f"{one} holds two files with the name {member.name!r}")
    named = {name: replace(member, name=name) for name, member in sorted(members.items())}
    images = {name: member for name, member in named.items() if is_image(name)}
    if not images:
        raise HarnessError(
            f"{path} holds no images: none of its {len(named)} files ends in {', '.join(SUFFIXES)}"
        )
    stamps = {one.tar: files.stamp(one.tar) for one in images.values()}
    entries = [Entry(n, f"{stamps[m.tar]}-{m.start}", None) for n, m in images.items()]
    tables = [member for name, member in named.items() if _is_sidecar(name)]
    texts = [named[name] for name in _captions(named, entries)]
    return TarImages(path, entries, [*images.values()], tables, texts)


def _captions(names: Iterable[str], entries: Sequence[Entry]) -> list[str]:
    """Those of the names that are an image's with the ending of a text."""
    stems = {str(PurePosixPath(entry.name).with_suffix("")) for entry in entries}
    return [
        name
        for name in names
        if name.lower().endswith(CAPTIONS) and str(PurePosixPath(name).with_suffix("")) in stems
    ]
