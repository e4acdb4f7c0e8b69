"""Downloads by URL: kept in a cache, and checked by their sha256 at every use.

A cached file's checksum lies beside it (`FILE.sha256`, as `sha256sum` writes it); a file that no
longer has this checksum is refused.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import urllib.parse
import zipfile
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from harness.core.errors import HarnessError, NotHere

log = logging.getLogger(__name__)

TIMEOUT = 30.0
"""Seconds without a byte until a download counts as failed."""


def cache_root() -> Path:
    """`$HARNESS_CACHE`, else `~/.cache/sampler-harness`."""
    chosen = os.environ.get("HARNESS_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "sampler-harness"


_forbidden: ContextVar[bool] = ContextVar("downloads are forbidden", default=False)


@contextlib.contextmanager
def without_downloads() -> Iterator[None]:
    """While open, whatever is not on this machine raises NotHere, which says what it is."""
    token = _forbidden.set(True)
    try:
        yield
    finally:
        _forbidden.reset(token)


def forbidden() -> bool:
    """Whether nothing may be downloaded now: see `without_downloads`."""
    return _forbidden.get()


def check_may_download(what: str) -> None:
    """Raise NotHere where nothing may be downloaded: `what` is not on this machine."""
    if forbidden():
        raise NotHere(f"{what} is not on this machine: it has to be downloaded first")


def download(url: str, path: Path) -> None:
    """Download an http(s) URL to `path`, whole or not at all; a progress bar on a terminal.

    Raises HarnessError if it cannot be reached, refuses, or ends early.
    """
    import pooch

    check_may_download(url)
    log.info("downloading %s", url)
    pooch.get_logger().setLevel("WARNING")
    headers = {"User-Agent": "sampler-harness", "Accept-Encoding": "identity"}
    get = pooch.HTTPDownloader(sys.stderr.isatty(), 1 << 20, timeout=TIMEOUT, headers=headers)
    try:
        pooch.retrieve(url, None, path.name, path.parent, downloader=get)
        path.chmod(0o644)  # pooch's temporary file is its owner's alone, a cache may be shared
    except (OSError, ValueError) as error:
        raise HarnessError(f"cannot download {url}: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    """The HTTP status of the response, or the lowest-level cause below requests and urllib3."""
    if (response := getattr(error, "response", None)) is not None:
        return f"HTTP Error {response.status_code}: {response.reason}"
    while error.__context__ is not None:
        error = error.__context__
    return str(error)


def read_url(url: str) -> bytes:
    """The content of a URL: http(s) directly, any other scheme (`s3://`, `file://`) by fsspec."""
    if url.startswith(("http://", "https://")):
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder, "whole")
            download(url, whole)
            return whole.read_bytes()
    import fsspec

    try:
        with fsspec.open(url, "rb") as opened:
            return bytes(opened.read())
    except Exception as error:  # each file system has its own errors
        raise HarnessError(f"cannot read {url}: {error or type(error).__name__}") from None


def hash_file(path: str | Path) -> str:
    """The sha256 of a file in hexadecimal; computed again only when its size or time changes."""
    stat = os.stat(path)
    return _hash_file(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache
def _hash_file(path: str, size: int, changed: int) -> str:
    import pooch

    return str(pooch.file_hash(path))


def _sums(path: Path) -> Path:
    """The path of the file that records a cached file's sha256."""
    return path.with_name(path.name + ".sha256")


def _checked(path: Path) -> str:
    """The sha256 of a cached file; HarnessError if another one is recorded beside it."""
    digest, sums = hash_file(path), _sums(path)
    recorded = sums.read_text(errors="replace").split()[:1] if sums.is_file() else [digest]
    if recorded != [digest]:
        raise HarnessError(
            f"{path} has changed since it was kept: its sha256 is {digest}, recorded is "
            f"{''.join(recorded) or 'none'}. Delete it to download it again, or delete "
            f"{sums.name} to accept it as it is"
        )
    return digest


def _record(path: Path) -> str:
    """`_checked`, which also records the sha256 where the folder is writable."""
    digest, sums = _checked(path), _sums(path)
    if not sums.is_file() and os.access(sums.parent, os.W_OK):
        sums.write_text(f"{digest}  {path.name}\n")
    return digest


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Create the cache folder of `path`; an OSError while open becomes a HarnessError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise HarnessError(
            f"cannot write to the cache {path.parent}: {error.strerror}. "
            "Set HARNESS_CACHE to a folder that can be written"
        ) from None


@dataclass(frozen=True)
class PublicFile:
    """One published file: its URL and its place in the cache.

    `folder` is its folder in the cache (`models/edm`); `name` defaults to the URL's last part.
    `member` is its path inside the zip archive that the URL leads to; `aliases` are other file
    names that are accepted in a user's folder.
    """

    folder: str
    url: str
    name: str = ""
    member: str = ""
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        last = urllib.parse.unquote(self.url.rsplit("/", 1)[-1])
        object.__setattr__(self, "name", self.name or last)

    @property
    def path(self) -> Path:
        """Its path in the cache."""
        return cache_root() / self.folder / self.name

    def obtain(self) -> Path:
        """The path of the cached file, downloaded if need be; HarnessError if that fails.

        Ranks on one machine start together: one downloads, the others wait.
        """
        self.digest()
        return self.path

    def digest(self) -> str:
        """The sha256 of the file, in hexadecimal; downloads the file if need be."""
        from filelock import FileLock

        path = self.path
        if not path.is_file():
            check_may_download(self.url)
            with _writing(path), FileLock(path.with_name(f".{path.name}.lock")):
                if not path.is_file():
                    self._download(path, f"put it at {path} (HARNESS_CACHE is the cache's folder)")
                    _sums(path).unlink(missing_ok=True)
        return _record(path)

    def read(self, folder: str | None = None, *, downloads: bool = True) -> Obtained:
        """The file's content from `folder` if given, else from the cache, else downloaded.

        Nothing is written before `Obtained.keep`. Raises HarnessError if the file is in none of
        these places or has changed since it was cached.
        """
        if folder is not None:
            path = self._in(Path(folder).expanduser())
            return Obtained(self, _read(path), str(path), keeps=False)
        if self.path.is_file():
            _checked(self.path)
            return Obtained(self, _read(self.path), str(self.path))
        by_hand = f"name its folder with --prompts-folder DIR, or put it at {self.path}"
        if not downloads:
            raise HarnessError(
                f"{self.name} is not in the cache and downloads are off: get it from {self.url} "
                f"and {by_hand}"
            )
        check_may_download(self.url)
        with tempfile.TemporaryDirectory() as aside:
            whole = Path(aside, "whole")
            self._download(whole, by_hand)
            return Obtained(self, self._member(whole) if self.member else _read(whole), self.url)

    def _in(self, folder: Path) -> Path:
        if not folder.is_dir():
            raise HarnessError(
                f"there is no folder {folder}: give the folder that holds {self.name}"
            )
        names = [self.name, *self.aliases]
        places = [folder / name for name in names]
        places += [folder / Path(self.folder).name / name for name in names]
        if path := next((place for place in places if place.is_file()), None):
            return path
        raise HarnessError(
            f"{folder} does not hold {' or '.join(names)}. It can be had from {self.url}"
        )

    def _download(self, path: Path, by_hand: str) -> None:
        try:
            download(self.url, path)
        except HarnessError as error:
            inside = f" (in it: {self.member})" if self.member else ""
            raise HarnessError(
                f"{error}. Get {self.name}{inside} in another way and {by_hand}"
            ) from None

    def _member(self, archive: Path) -> bytes:
        try:
            with zipfile.ZipFile(archive) as opened:
                return opened.read(self.member)
        except (zipfile.BadZipFile, KeyError) as error:
            raise HarnessError(f"no {self.member} in the archive {self.url}: {error}") from None


@dataclass(frozen=True)
class Obtained:
    """The content of a public file and its origin; `keeps` says whether the cache may hold it."""

    file: PublicFile
    data: bytes
    origin: str
    keeps: bool = True

    def keep(self) -> None:
        """Write content and sha256 to the cache; call it once the content has proved valid."""
        if not self.keeps:
            return
        path = self.file.path
        with _writing(path):
            if not path.is_file():
                part = path.with_name(f".{path.name}.{os.getpid()}")
                part.write_bytes(self.data)
                part.replace(path)
                _sums(path).unlink(missing_ok=True)
            _record(path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HarnessError(f"cannot read {path}: {error.strerror}") from None
