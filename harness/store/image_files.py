"""Images of a collection: the entry of each, known without reading it, and reading its file.

A picture of a folder or zip is named by a path or by an fsspec URL
(`zip://a/b.png::/data/x.zip`), which `datasets` and `read_image` open.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from harness.core.errors import HarnessError
from harness.store import files
from harness.store.boundary import not_regular
from harness.store.pictures import MOST_BYTES, Broken, Unread, decode


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
    """The images of a collection, in the order of their names or rows; see collections.py.

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
        """Hash of all names and stamps: changes when an image is added, lost or changed."""
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

    def captions(self) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of the texts that lie beside images under the same name (`3.txt`)."""
        yield from ()


def read_image(url: str) -> bytes | Broken:
    """The bytes of a file that `Entry.url` names, or why they cannot be had."""
    try:
        if url.startswith("zip://"):
            member, _, archive = url.removeprefix("zip://").partition("::")
            return read_member(open_zip(archive, files.stamp(archive)), member)
        if reason := None if "://" in url else not_regular(url):
            return Broken(f"not read: {reason}")
        if files.size(url) > MOST_BYTES:
            return Broken(f"too large: its file is longer than {MOST_BYTES:,} bytes")
        return files.read_bytes(url)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        return Unread(f"cannot read {url}: {getattr(error, 'strerror', None) or error}")


def current_stamp(url: str) -> str | None:
    """The stamp that an entry of this `url` has now; None if it is gone."""
    try:
        if not url.startswith("zip://"):
            return files.stamp(url)
        member, _, archive = url.removeprefix("zip://").partition("::")
        return member_stamp(open_zip(archive, files.stamp(archive)).getinfo(member))
    except (OSError, KeyError, HarnessError):
        return None


@lru_cache(maxsize=8)
def open_zip(path: str, stamp: str) -> zipfile.ZipFile:
    """The opened zip; its table of contents is read once for each state of the file."""
    try:
        return zipfile.ZipFile(files.open_binary(path))
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error) as error:
        raise HarnessError(f"{path} does not open as a zip: {error}") from None


def member_stamp(info: zipfile.ZipInfo) -> str:
    """The stamp of a file in a zip: its length and checksum."""
    return f"{info.file_size}-{info.CRC:08x}"


def read_member(archive: zipfile.ZipFile, name: str) -> bytes | Broken:
    """The bytes of a file in a zip, or why they cannot be had."""
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
