"""Hashes of local weights: of every byte, read once while a file stays the same."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from harness.fetch.download import cache_root

_BLOCKS, _BLOCK = 64, 1 << 16
_PIECE = 1 << 22
_SETTLED = 2_000_000_000
"""Nanoseconds; a younger file may change again at the same time by its file system's clock."""

_sampled: ContextVar[bool] = ContextVar("_sampled", default=False)


def files_fingerprint(files: Mapping[str, Path]) -> str:
    """A hash of files and their names."""
    digest = hashlib.sha256()
    for name, path in files.items():
        size = path.stat().st_size
        digest.update(f"{name}\n{size}\n".encode())
        if size <= _BLOCKS * _BLOCK or _sampled.get():
            _add_blocks(digest, path, size)
        else:
            digest.update(file_hash(path).encode())
    return digest.hexdigest()[:16]


@contextmanager
def sampled_form() -> Iterator[None]:
    """Within it, fingerprints are as earlier versions recorded them: of a file over 4 MiB, evenly
    spaced blocks were hashed."""
    token = _sampled.set(True)
    try:
        yield
    finally:
        _sampled.reset(token)


def _add_blocks(digest: hashlib._Hash, path: Path, size: int) -> None:
    """Evenly spaced blocks of a file: all of it, unless it is over 4 MiB."""
    with path.open("rb") as file:
        for part in range(_BLOCKS):
            file.seek(size * part // _BLOCKS)
            digest.update(file.read(min(_BLOCK, size // _BLOCKS + 1)))


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, kept in the cache by its size, times and inode."""
    real = os.path.realpath(path)
    state = os.stat(real)
    version = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
    name = hashlib.sha256(real.encode()).hexdigest()[:32]
    kept = cache_root() / "fingerprints" / f"{name}.json"
    try:
        held = json.loads(kept.read_text())
        if held["version"] == version:
            return str(held["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or damaged
    found = _hash(real)
    if state.st_mtime_ns < time.time_ns() - _SETTLED:
        _keep(kept, json.dumps({"file": real, "version": version, "sha256": found}))
    return found


def _hash(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _keep(path: Path, text: str) -> None:
    """Write a file of the cache whole; a cache that cannot be written to goes without."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
