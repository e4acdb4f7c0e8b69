"""Temporary files of writers that were killed, and when they may be removed.

A file is written under a temporary name, `.NAME.HOST-PID-RANDOM.part`, and renamed when it is
complete. HOST stands for a machine since it was started, and the processes that can be seen there.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import time
from functools import lru_cache
from pathlib import Path

LEASE = 3600.0
"""Seconds after which the temporary file of a writer that cannot be seen from here is left over."""

_NAME = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-\w+\.part")
_BEFORE = re.compile(r"\..+\.(parquet|json|md|py)\.\w{8}")  # of versions that did not name a writer
_LONGEST = 150  # letters of NAME: file systems take 255

_swept: set[tuple[int, str]] = set()


def prefix(name: str) -> str:
    """How the name of a temporary file of this process begins; it ends in `.part`."""
    return f".{name[:_LONGEST]}.{writer()}-"


def writer() -> str:
    """This process, as a name that `is_dead` takes."""
    return f"{_host()}-{os.getpid()}"


def is_dead(writer: str) -> bool:
    """Whether a process is seen to be dead from here; False where it cannot be seen."""
    host, _, pid = writer.partition("-")
    return host == _host() and pid.isdigit() and not _alive(int(pid))


def sweep_once(folder: str) -> None:
    """Remove what killed writers left in a folder, the first time that this process asks."""
    if (key := (os.getpid(), folder)) not in _swept:
        _swept.add(key)
        for path in leftovers(folder):
            Path(path).unlink(missing_ok=True)


def leftovers(folder: str, lease: float = LEASE) -> list[str]:
    """Temporary files in a local folder whose writer is dead, or that are older than the lease."""
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        found = [entry.path for entry in entries if entry.name.startswith(".")]
    return sorted(path for path in found if _left(path, lease))


def _left(path: str, lease: float) -> bool:
    name = os.path.basename(path)
    ours = _NAME.fullmatch(name)
    if not ours and not _BEFORE.fullmatch(name):
        return False
    if ours and is_dead(f"{ours[1]}-{ours[2]}"):
        return True
    try:
        return time.time() - os.stat(path).st_mtime > lease
    except FileNotFoundError:
        return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


@lru_cache
def _host() -> str:
    parts = [platform.node()]
    if os.path.exists("/proc/sys/kernel/random/boot_id"):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
