"""How many threads of this process may decode and resize pictures."""

from __future__ import annotations

import os

_MOST = 8


def picture_threads() -> int:
    """Number of threads: this process's share of the machine's cores, at most 8."""
    cores = len(os.sched_getaffinity(0))
    return max(1, min(_MOST, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
