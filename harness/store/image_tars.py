"""Images in tar files, as sharded collections have them: members of one stem are one sample."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.core.errors import HarnessError
from harness.store import files
from harness.store.image_files import Entry, Images
from harness.store.pictures import MOST_BYTES, Broken, Unread


@dataclass(frozen=True)
class TarMember:
    """A regular file in a tar: where its bytes are."""

    tar: str
    name: str
    start: int
    size: int

    def read(self) -> bytes | Broken:
        """Its bytes, or why they cannot be had."""
        if self.size > MOST_BYTES:
            return Broken(f"too large: its file is longer than {MOST_BYTES:,} bytes")
        try:
            with files.open_binary(self.tar) as file:
                file.seek(self.start)
                data = file.read(self.size)
        except OSError as error:
            return Unread(f"cannot read {self.tar}: {error.strerror or error}")
        return data if len(data) == self.size else Broken("broken image: its tar ends early")


class TarImages(Images):
    """Images that are members of tar files; `others` are the tables and texts beside them."""

    def __init__(
        self,
        path: str,
        entries: Sequence[Entry],
        members: Sequence[TarMember],
        tables: Sequence[TarMember],
        texts: Sequence[TarMember],
    ) -> None:
        super().__init__(path, entries)
        self._members, self._tables, self._texts = members, tables, texts

    def read(self, start: int, stop: int) -> Iterator[tuple[Entry, bytes | Broken]]:
        for entry, member in zip(self.entries[start:stop], self._members[start:stop], strict=True):
            yield entry, member.read()

    def sidecars(self) -> Iterator[tuple[str, bytes]]:
        yield from self._contents(self._tables)

    def captions(self) -> Iterator[tuple[str, bytes]]:
        yield from self._contents(self._texts)

    def _contents(self, members: Sequence[TarMember]) -> Iterator[tuple[str, bytes]]:
        for member in members:
            data = member.read()
            if isinstance(data, Broken):
                raise HarnessError(f"{self.path}: {member.name}: {data.reason}")
            yield member.name, data


def tar_members(path: str) -> list[TarMember]:
    """The regular files of a tar. Raises HarnessError for what is none, or is compressed."""
    if not files.exists(path):
        raise HarnessError(f"there is no file {path}")
    place = path if "://" in path else os.path.abspath(path)
    try:
        with files.open_binary(place) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            return [
                TarMember(place, info.name.removeprefix("./"), info.offset_data, info.size)
                for info in archive
                if info.isreg() and not info.issparse()
            ]
    except (tarfile.TarError, OSError, ValueError, OverflowError, EOFError) as error:
        raise HarnessError(
            f"{path} does not open as a tar: {str(error) or type(error).__name__}. One that is "
            "compressed is unpacked first (gunzip)"
        ) from None
