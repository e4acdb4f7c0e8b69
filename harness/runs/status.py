"""How far a stage of the work is, and how a process that is asked for it, by SIGUSR1, tells it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "HARNESS_STATUS"
"""The variable that names the file in which the first of a parent's processes tells its status."""


@dataclass(frozen=True)
class Status:
    """A stage of the work over all processes, after `seconds`.

    `speed` is in images/s since the first batch was made, as weights are loaded before; None until
    a second one is. `ranks` says in a line each what the processes do.
    """

    title: str
    done: int
    total: int
    failed: int
    seconds: float
    speed: float | None = None
    ranks: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        """Images a second: now, or at the end over all the time."""
        if self.speed is not None and self.done < self.total:
            return self.speed
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds until all is done, at the speed of now; None where that is not known yet."""
        return (self.total - self.done) / self.speed if self.speed else None

    def __str__(self) -> str:
        text = f"{self.title}: {self.done}/{self.total} in {self.seconds:.0f} s"
        text += f", {speed_in_words(self.rate)}"
        text += f", {self.failed} failed" if self.failed else ""
        more = self.left is not None and self.done < self.total
        return text + (f", about {in_words(self.left or 0)} left" if more else "")

    def whole(self) -> str:
        """With a line for each process."""
        return "\n".join([str(self), *(f"  {line}" for line in self.ranks)])

    def write(self, path: str) -> None:
        """Leave it in a file for `read`, in another process."""
        new = f"{path}.new"
        Path(new).write_text(json.dumps(asdict(self) | {"at": time.time()}), encoding="utf-8")
        os.replace(new, path)

    @classmethod
    def read(cls, path: str) -> Status | None:
        """What was last written to a file; None before that. Its seconds go on."""
        try:
            held = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        held["seconds"] += time.time() - held.pop("at")
        return cls(**{**held, "ranks": tuple(held["ranks"])})


def in_words(seconds: float) -> str:
    """A time in its two largest units: `42 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    whole = round(seconds)
    at = next((i for i, (_, size) in enumerate(units) if whole >= size), 3)
    (unit, size), *rest = units[at : at + 2]
    text = f"{whole // size} {unit}"
    if rest and (small := whole % size // rest[0][1]):
        text += f" {small} {rest[0][0]}"
    return text


def speed_in_words(rate: float) -> str:
    """`3.2 images/s`, and `0.031 images/s` of a slow one."""
    return f"{rate:.1f} images/s" if rate >= 0.1 or rate == 0 else f"{rate:.2g} images/s"


@contextmanager
def answering(text: Callable[[], str]) -> Iterator[None]:
    """While open, SIGUSR1 prints `text()` to standard error, unless it is empty; nothing stops.

    By a thread, as the signal may come while this one holds what printing needs.
    """
    if not _takes_signals():
        yield
        return

    def answer_aside() -> None:
        if told := text():
            say(told)

    def answer(number: int, frame: object) -> None:
        threading.Thread(target=answer_aside, daemon=True).start()

    previous = signal.signal(signal.SIGUSR1, answer)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, previous or signal.SIG_DFL)


@contextmanager
def deaf() -> Iterator[None]:
    """While open, processes are started that SIGUSR1 does not end before they can answer it."""
    if not _takes_signals():
        yield
        return
    previous = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, previous or signal.SIG_DFL)


def say(text: str) -> None:
    """Print to standard error in one write: processes share it."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _takes_signals() -> bool:
    """Signals reach the main thread alone; Windows has no SIGUSR1."""
    return hasattr(signal, "SIGUSR1") and threading.current_thread() is threading.main_thread()
