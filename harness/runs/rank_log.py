"""A log of what one process did: `rank-N.log`, and of one without a launcher `HOST-PID.log`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.core.errors import HarnessError

events = logging.getLogger("harness.rank")
events.propagate = False
events.addHandler(logging.NullHandler())
"""What a process does goes to its log; warnings and errors also to the terminal, as ever."""

_FORM = "%(asctime)s %(levelname)s %(message)s"


def folder_of_logs(asked: str | None, runs: Sequence[str], processes: int) -> str | None:
    """The folder, made if it is new, for the logs of the processes that work on `runs` (paths).

    As asked; else the usual one where there are several processes. None of one process, and where
    nothing can be appended to: behind a URL, or in a folder that is read only.
    """
    if asked:
        if "://" in asked:
            raise HarnessError(f"--log-folder {asked}: logs are appended to; name a local folder")
        Path(asked).mkdir(parents=True, exist_ok=True)
        return asked
    usual = usual_folder(runs) if processes > 1 else None
    if usual is None:
        return None
    try:
        Path(usual).mkdir(exist_ok=True)
    except OSError:
        return None
    return usual


def usual_folder(runs: Sequence[str]) -> str | None:
    """`logs/` in the run's folder, or in the one that all of these are in; None behind a URL."""
    if not runs or any("://" in path for path in runs):
        return None
    return os.path.join(os.path.commonpath([os.path.abspath(path) for path in runs]), "logs")


@contextmanager
def kept(folder: str | None, name: str) -> Iterator[None]:
    """While open, what this process does and warns of goes to its log, if there is a folder."""
    if folder is None:
        yield
        return
    handler = logging.FileHandler(Path(folder) / f"{name}.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter(_FORM))
    root, level = logging.getLogger(), events.level
    root.addHandler(handler)
    events.addHandler(handler)
    events.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        events.removeHandler(handler)
        events.setLevel(level)
        handler.close()
