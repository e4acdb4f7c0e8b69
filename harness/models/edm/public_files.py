"""Published weights: from the cache, or from their public home into it."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

from harness.download import cache_root, fetch, recorded, sum_path
from harness.errors import HarnessError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublicWeights:
    """One published file; `folder` places it in the cache, below `models/`."""

    folder: str
    url: str

    @property
    def path(self) -> Path:
        return cache_root() / "models" / self.folder / self.url.rsplit("/", 1)[-1]

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
def _checked(weights: PublicWeights, path: Path) -> str:
    """The sha256 of the file at `path`, once a process: there are gigabytes to read."""
    from filelock import FileLock

    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # ranks on one machine start together: one downloads, the others wait
            with FileLock(path.with_name(f".{path.name}.lock")):
                if not path.is_file():
                    _download(weights, path)
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


def _download(weights: PublicWeights, path: Path) -> None:
    """All of the file or nothing."""
    log.info("downloading %s", weights.url)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            fetch(weights.url, file)
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
