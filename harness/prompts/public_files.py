"""Public files: from a folder the user names, from the cache, or from their public home.

A download is kept with its sha256 beside it (`FILE.sha256`, as `sha256sum` writes it) and refused
when it no longer has it.
"""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from harness.core.errors import HarnessError
from harness.fetch.download import cache_root, fetch, recorded, sum_path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublicFile:
    """One published file.

    `folder` and `name` place it in the cache; `member` is its path inside the zip archive that the
    URL leads to; `aliases` are other names it is known under, looked for in the user's folder.
    """

    folder: str
    name: str
    url: str
    member: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return cache_root() / "prompts" / self.folder / self.name


@dataclass(frozen=True)
class Obtained:
    """The bytes of a file and where they come from. `keep` says that the cache lacks their sum."""

    file: PublicFile
    data: bytes
    origin: str
    keep: bool = False


def obtain(file: PublicFile, folder: str | None, download: bool) -> Obtained:
    """The file out of `folder` if that is given, else out of the cache, else downloaded.

    Nothing is written: call `keep` once the bytes have proved to be what they should be. Raises
    HarnessError if the file is in none of the places or has changed since it was kept.
    """
    if folder is not None:
        return _from_folder(file, Path(folder).expanduser())
    if file.path.is_file():
        return _from_cache(file)
    if not download:
        raise HarnessError(
            f"{file.name} is not in the cache and downloads are off: get it from {file.url} and "
            f"{_by_hand(file)}"
        )
    return Obtained(file, _download(file), file.url, keep=True)


def keep(obtained: Obtained) -> None:
    """Put a download into the cache, and the sha256 beside it."""
    from harness.store import files

    path = obtained.file.path
    digest = hashlib.sha256(obtained.data).hexdigest()
    try:
        if not path.is_file():
            files.write_bytes(str(path), obtained.data)
        files.write_text(str(sum_path(path)), f"{digest}  {path.name}\n")
    except (OSError, HarnessError) as error:
        raise HarnessError(
            f"cannot write to the cache {path.parent}: {error}. "
            "Set HARNESS_CACHE to a folder that can be written"
        ) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HarnessError(f"cannot read {path}: {error.strerror}") from None


def _from_folder(file: PublicFile, folder: Path) -> Obtained:
    if not folder.is_dir():
        raise HarnessError(f"there is no folder {folder}: give the folder that holds {file.name}")
    names = [file.name, *file.aliases]
    for place in (folder, folder / file.folder):
        for name in names:
            if (place / name).is_file():
                return Obtained(file, _read(place / name), str(place / name))
    raise HarnessError(
        f"{folder} does not hold {' or '.join(names)}. It can be had from {file.url}"
    )


def _from_cache(file: PublicFile) -> Obtained:
    data = _read(file.path)
    by_hand = not recorded(file.path, hashlib.sha256(data).hexdigest())
    return Obtained(file, data, str(file.path), keep=by_hand)


def _by_hand(file: PublicFile) -> str:
    return f"name its folder with --prompts-folder DIR, or put it at {file.path}"


def _download(file: PublicFile) -> bytes:
    log.info("downloading %s from %s", file.name, file.url)
    with TemporaryFile() as whole:
        try:
            fetch(file.url, whole)
        except HarnessError as error:
            inside = f" (in it: {file.member})" if file.member else ""
            raise HarnessError(
                f"{error}. Get {file.name}{inside} in another way and {_by_hand(file)}"
            ) from None
        whole.seek(0)
        return _member(whole, file) if file.member else whole.read()


def _member(archive: IO[bytes], file: PublicFile) -> bytes:
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.read(file.member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise HarnessError(f"no {file.member} in the archive {file.url}: {error}") from None


def read_url(url: str) -> bytes:
    """All that a URL holds: http(s) directly, any other scheme (`s3://`, `file://`) by fsspec."""
    if url.startswith(("http://", "https://")):
        into = io.BytesIO()
        fetch(url, into)
        return into.getvalue()
    import fsspec

    try:
        with fsspec.open(url, "rb") as opened:
            return bytes(opened.read())
    except Exception as error:  # each file system has its own errors
        raise HarnessError(f"cannot read {url}: {error or type(error).__name__}") from None
