"""Work over processes: the rank of this one, and which shard it takes next.

Under torchrun or `accelerate launch` the ranks share the launcher's own key-value store; a counter
in it hands out the next shard, so that a slow device does not hold up the rest. There is no process
group and no collective: a rank that dies loses its shard in hand, and the next run makes it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from harness.core.errors import HarnessError

T = TypeVar("T")

_WAIT = timedelta(minutes=30)
_MOST_ON_CPU = 8


class Ranks:
    """This process among those of a launcher: `rank` of `world`, on one or many machines."""

    def __init__(
        self, rank: int = 0, local_rank: int = 0, world: int = 1, store: Any = None
    ) -> None:
        self.rank, self.local_rank, self.world, self._store = rank, local_rank, world, store
        self._names = 0

    @classmethod
    def from_environment(cls) -> Ranks:
        """The ranks of the launcher that started this process; alone where there is none."""
        if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        from torch.distributed import rendezvous

        store, rank, world = next(rendezvous("env://", timeout=_WAIT))
        return cls(rank, int(os.environ.get("LOCAL_RANK", rank)), world, store)

    def share(self, items: Sequence[T]) -> Iterator[T]:
        """Each item on one rank only, the next free one whenever a rank asks.

        Every rank must call this with the same items in the same order.
        """
        name = self.name("next")
        if self._store is None:
            yield from items
            return
        while (at := self._store.add(name, 1) - 1) < len(items):
            yield items[at]

    def add(self, name: str, amount: int) -> int:
        """Add to a counter that all ranks share; its new value."""
        if self._store is None:
            return amount
        return int(self._store.add(f"count/{name}", amount))

    def first(self, name: str) -> bool:
        """Whether no rank has asked for this name before; alone, always."""
        return self.add(f"first/{name}", 1) == 1

    def name(self, title: str) -> str:
        """A name for a counter or barrier, new at every call and alike on all ranks.

        Every rank must ask for names in the same order.
        """
        self._names += 1
        return f"{self._names}/{title}"

    def barrier(self, name: str, progress: Callable[[], int] = lambda: 0) -> None:
        """Wait until every rank is here (the store may live in one of them).

        Raises HarnessError if neither another rank comes nor `progress` changes for half an hour.
        """
        if self._store is None:
            return
        self._store.add(f"barrier/{name}", 1)
        last, since = (0, 0), time.monotonic()
        while (here := self._store.add(f"barrier/{name}", 0)) < self.world:
            state = (here, progress())
            if state != last:
                last, since = state, time.monotonic()
            if time.monotonic() - since > _WAIT.total_seconds():
                raise HarnessError(
                    f"{self.world - here} of {self.world} processes have died or hang: run it "
                    "again; what is complete is kept"
                )
            time.sleep(0.2)
        self._store.add(f"left/{name}", 1)
        while self.rank == 0 and self._store.add(f"left/{name}", 0) < self.world:
            time.sleep(0.05)  # the store's host leaves last, so that the others can still ask


def parse_part(text: str) -> tuple[int, int]:
    """`i/n`: the i-th of n static parts, from 0, for machines without a common launcher."""
    first, slash, second = text.partition("/")
    if not slash or not first.isdigit() or not second.isdigit() or int(first) >= int(second):
        raise HarnessError(f"cannot read shard {text!r}: expected i/n with i from 0 to n-1")
    return int(first), int(second)


def default_workers(device: str | None) -> int:
    """One process for each GPU, one for a GPU given by number; on a CPU one a core, at most 8."""
    import torch

    kind, _, index = (device or pick_device(None)).partition(":")
    if kind == "cuda":
        return 1 if device and index else torch.cuda.device_count()
    return min(len(os.sched_getaffinity(0)), _MOST_ON_CPU)


def pick_device(wanted: str | None, local_rank: int = 0) -> str:
    """The device of this rank: `cpu`, or `cuda:N`, its own unless a number was asked for.

    Raises HarnessError for a device that is not here.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    kind, _, index = (wanted or ("cuda" if count else "cpu")).partition(":")
    if kind == "cpu" and not index:
        return "cpu"
    if kind != "cuda" or (index and not index.isdigit()):
        raise HarnessError(f"unknown device {wanted!r}: expected cpu, cuda or cuda:N")
    if int(index or 0) >= count:
        here = f"{count} GPU{'s' * (count > 1)}" if count else "no GPU"
        raise HarnessError(f"device {wanted} was asked for, but torch sees {here}")
    return f"cuda:{index or local_rank % count}"


def run_child(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command to its end; its exit status.

    Where this process is stopped (by Ctrl-C, or a scheduler's SIGTERM to it alone), so is the
    child, which gets the time to stop its own: a killed torchrun would leave its workers behind,
    with a GPU each. Signals reach the main thread alone: elsewhere only an error stops the child.
    """
    with _sigterm_exits(), subprocess.Popen(command, env=dict(environment)) as child:
        try:
            return child.wait()
        finally:
            child.terminate()  # nothing if it has ended
            child.wait()


@contextmanager
def _sigterm_exits() -> Iterator[None]:
    """Let SIGTERM end this process as an exception, so that what is open is closed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _stop(number: int, frame: object) -> None:
    sys.exit(128 + number)
