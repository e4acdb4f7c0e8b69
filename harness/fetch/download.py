"""Files from the network, and where they are kept on this machine."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

from harness.core.errors import HarnessError

log = logging.getLogger(__name__)

TIMEOUT = 30.0
"""Seconds without a byte until a download counts as failed."""


def cache_root() -> Path:
    """`$HARNESS_CACHE`, else `~/.cache/sampler-harness`."""
    chosen = os.environ.get("HARNESS_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "sampler-harness"


def fetch(url: str, into: IO[bytes]) -> None:
    """Copy what an http(s) URL serves; shows a progress bar on a terminal.

    Raises HarnessError if it cannot be reached, refuses, or ends early.
    """
    from rich.console import Console
    from rich.progress import wrap_file

    request = urllib.request.Request(url, headers={"User-Agent": "sampler-harness"})
    console = Console(stderr=True)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            size = int(answer.headers.get("Content-Length") or 0)
            name = url.split("?")[0].rsplit("/", 1)[-1]
            quiet = not console.is_terminal or size < 1 << 20
            with wrap_file(answer, size, description=name, console=console, disable=quiet) as body:
                got = _copy(body, into)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if type(error) is urllib.error.URLError else error
        raise HarnessError(f"cannot download {url}: {reason}") from None
    if size and got != size:
        raise HarnessError(f"cannot download {url}: it ended after {got} of {size} bytes")


def _copy(source: IO[bytes], into: IO[bytes]) -> int:
    total = 0
    while chunk := source.read(1 << 20):
        into.write(chunk)
        total += len(chunk)
    return total


def sum_path(path: Path) -> Path:
    """Where the sha256 of a kept file is recorded, as `sha256sum` writes it."""
    return path.with_name(path.name + ".sha256")


def recorded(path: Path, digest: str) -> bool:
    """Whether the sha256 of the file at `path` is recorded beside it.

    Raises HarnessError if another one is.
    """
    sums = sum_path(path)
    if not sums.is_file():
        return False
    found = sums.read_text(errors="replace").split()[:1]
    if found != [digest]:
        raise HarnessError(
            f"{path} has changed since it was kept: its sha256 is {digest}, recorded is "
            f"{''.join(found) or 'none'}. Delete it to download it again, or delete "
            f"{sums.name} to accept it as it is"
        )
    return True


@dataclass(frozen=True)
class PublicFile:
    """One published file; `folder` places it in the cache (`models/edm`)."""

    folder: str
    url: str

    @property
    def path(self) -> Path:
        return cache_root() / self.folder / urllib.parse.unquote(self.url.rsplit("/", 1)[-1])

    def obtain(self) -> Path:
        """The file on this machine, downloaded if it is not; HarnessError if it cannot be had.

        Its sha256 is kept beside it (`FILE.sha256`, as `sha256sum` writes it) the first time, and
        the file refused if it no longer has it.
        """
        _checked(self, self.path)
        return self.path

    def digest(self) -> str:
        """The file's sha256, in hexadecimal; obtains it."""
        return _checked(self, self.path)


@lru_cache
def _checked(published: PublicFile, path: Path) -> str:
    """The sha256 of the file at `path`, once a process: there are gigabytes to read."""
    from filelock import FileLock

    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # ranks on one machine start together: one downloads, the others wait
            with FileLock(path.with_name(f".{path.name}.lock")):
                if not path.is_file():
                    _download(published, path)
        except OSError as error:
            raise HarnessError(
                f"cannot write to the cache {path.parent}: {error.strerror}. "
                "Set HARNESS_CACHE to a folder that can be written"
            ) from None
    with path.open("rb") as file:
        digest = _sha256(file)
    if not recorded(path, digest) and os.access(path.parent, os.W_OK):
        sum_path(path).write_text(f"{digest}  {path.name}\n")
    return digest


def _download(published: PublicFile, path: Path) -> None:
    """All of the file or nothing."""
    log.info("downloading %s", published.url)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            fetch(published.url, file)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, HarnessError):
            raise HarnessError(
                f"{error}. Get {path.name} in another way and put it at {path} "
                "(HARNESS_CACHE is the cache's folder)"
            ) from None
        raise


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
