"""The rank of this process among those of a launcher, and which shard it takes next.

torchrun, `accelerate launch` and `notebook_launcher` start the processes; `accelerate` tells each
its rank. They share the launcher's key-value store; a counter in it hands out the next shard, so
that a slow device does not hold up the rest. There is no collective on the way: a rank that dies
loses its shard in hand, and the next run makes it. Each rank shows in the store that it is alive
and what it does, so that the others can say which of them died.
"""

from __future__ import annotations

import atexit
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

from harness.core.errors import HarnessError
from harness.runs.devices import kind_of

T = TypeVar("T")

log = logging.getLogger(__name__)

_WAIT = timedelta(minutes=30)
_BEAT = 2.0
"""Seconds between two signs of life of a rank."""

_SILENT = 20.0
"""Seconds without one after which a rank is said to be dead."""


class Ranks:
    """This process among those of a launcher: `rank` of `world`, on one or many machines."""

    _here: ClassVar[Ranks | None] = None

    def __init__(
        self, rank: int = 0, local_rank: int = 0, world: int = 1, store: Any = None
    ) -> None:
        self.rank, self.local_rank, self.world, self._store = rank, local_rank, world, store
        self._names = 0
        self._doing = f"rank {rank}: nothing yet"
        self._watch: Callable[[], object] = lambda: None

    @classmethod
    def from_environment(cls, device: str | None = None) -> Ranks:
        """The ranks of the launcher that started this process; alone where there is none.

        In one process always the same object, as names of counters are never used twice. `device`
        is the user's choice, None the best that is here. Raises HarnessError where the processes do
        not find each other.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        Ranks._here = Ranks._here or _launched(kind_of(device))
        return Ranks._here

    def share(self, items: Sequence[T]) -> Iterator[T]:
        """Each item on one rank only, the next free one whenever a rank asks.

        Every rank must call this with the same items in the same order.
        """
        name = self.name("next")
        if self._store is None:
            yield from items
            return
        while (at := self._add(name, 1) - 1) < len(items):
            yield items[at]

    def add(self, name: str, amount: int) -> int:
        """Add to a counter that all ranks share; its new value."""
        return amount if self._store is None else self._add(f"count/{name}", amount)

    def first(self, name: str) -> bool:
        """Whether no rank has asked for this name before; alone, always."""
        return self.add(f"first/{name}", 1) == 1

    def name(self, title: str) -> str:
        """A name for a counter or barrier, new at every call and alike on all ranks.

        Every rank must ask for names in the same order.
        """
        self._names += 1
        return f"{self._names}/{title}"

    @property
    def label(self) -> str:
        """A name of this process that no other has, on whatever machine."""
        alone = f"{platform.node()}-{os.getpid()}"
        return alone if self._store is None else f"rank-{self.rank}"

    def tell(self, doing: str) -> None:
        """Let the other ranks know what this one does, until it says something else."""
        where = f"{platform.node()}, process {os.getpid()}"
        text = f"rank {self.rank} ({where}): {doing}, since {time.strftime('%H:%M:%S')}"
        self._doing = text
        if self._store is not None:
            self._ask(lambda: self._store.set(f"doing/{self.rank}", text))

    def told(self) -> list[str]:
        """A line for each rank: where it is and what it does."""
        if self._store is None:
            return [self._doing]
        return [self._told(rank) for rank in range(self.world)]

    def _told(self, rank: int) -> str:
        key = f"doing/{rank}"
        if not self._ask(lambda: self._store.check([key])):
            return f"rank {rank}: nothing yet"
        return str(self._ask(lambda: self._store.get(key)), "utf-8")

    def barrier(self, name: str, progress: Callable[[], int] = lambda: 0) -> None:
        """Wait until every rank is here (the store may live in one of them).

        Raises HarnessError, with the names of those that are not, when they are all dead, or
        neither another rank comes nor `progress` changes for half an hour.
        """
        if self._store is None:
            return
        self._add(f"barrier/{name}/{self.rank}", 1)
        self._add(f"barrier/{name}", 1)
        last, since, pulse = (0, 0), time.monotonic(), _Pulse(self)
        while (here := self._add(f"barrier/{name}", 0)) < self.world:
            state = (here, progress())
            if state != last:
                last, since = state, time.monotonic()
            if pulse.due():
                absent = [r for r in range(self.world) if not self._add(f"barrier/{name}/{r}", 0)]
                hangs = time.monotonic() - since > _WAIT.total_seconds()
                if absent and (hangs or pulse.silent(absent) == absent):
                    self._refuse(absent)
            time.sleep(0.2)
        self._add(f"left/{name}", 1)
        while self.rank == 0 and self._add(f"left/{name}", 0) < self.world:
            time.sleep(0.05)  # the store's host leaves last, so that the others can still ask

    def _refuse(self, absent: Sequence[int]) -> None:
        raise HarnessError(
            f"{len(absent)} of {self.world} processes have died or hang: run it again; what is "
            "complete is kept. The last of " + "; of ".join(self._told(rank) for rank in absent)
        )

    @contextmanager
    def watched(self, tell: Callable[[], object] = lambda: None) -> Iterator[None]:
        """While open, the first of many ranks calls `tell` every other second, and warns of ranks
        that show no sign of life."""
        if self.rank != 0 or self._store is None:
            yield
            return
        pulse, others = _Pulse(self), range(1, self.world)

        def watch() -> None:
            tell()
            for rank in pulse.lost(others):
                log.warning("no sign of life for %d s of %s", _SILENT, self._told(rank))

        self._watch = watch
        try:
            yield
        finally:
            self._watch = lambda: None

    def beat(self, stop: threading.Event) -> None:
        """Show that this rank is alive until `stop` is set, and watch the others where asked."""
        with suppress(RuntimeError, HarnessError):  # the store is gone: the work itself says so
            while not stop.wait(_BEAT):
                self._store.add(f"alive/{self.rank}", 1)
                self._watch()

    def alive(self, rank: int) -> int:
        """A number that changes while a rank lives."""
        return self._add(f"alive/{rank}", 0)

    def _add(self, key: str, amount: int) -> int:
        return int(self._ask(lambda: self._store.add(key, amount)))

    def _ask(self, question: Callable[[], Any]) -> Any:
        """The store's answer; raises HarnessError where its host is gone."""
        try:
            return question()
        except RuntimeError as error:  # DistNetworkError and its like
            reason = str(error).partition("\n")[0]
            raise HarnessError(
                f"rank {self.rank} cannot reach the process that started first, which tells all "
                f"others what to do ({reason}): run it again; what is complete is kept"
            ) from None


class _Pulse:
    """Which ranks are silent, as seen from here since this was made."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._period = _BEAT if ranks.rank == 0 else 5 * _BEAT  # a question a rank, of each rank
        self._asked = time.monotonic()
        self._seen: dict[int, tuple[int, float]] = {}
        self._lost: set[int] = set()

    def due(self) -> bool:
        """Whether it is time to ask again."""
        now = time.monotonic()
        if now - self._asked < self._period:
            return False
        self._asked = now
        return True

    def silent(self, ranks: Sequence[int]) -> list[int]:
        """Those of `ranks` that have shown no sign of life for long."""
        now = time.monotonic()
        for rank in ranks:
            beats = self.ranks.alive(rank)
            if beats != self._seen.get(rank, (None, 0.0))[0]:
                self._seen[rank] = (beats, now)
        return [rank for rank in ranks if now - self._seen[rank][1] > _SILENT]

    def lost(self, ranks: Sequence[int]) -> list[int]:
        """As `silent`, each rank once."""
        new = [rank for rank in self.silent(ranks) if rank not in self._lost]
        self._lost.update(new)
        return new


def _launched(kind: str) -> Ranks:
    """This process among those of its launcher.

    On a CPU `PartialState` counts the processes only where it is told so: without `cpu` each is
    alone.
    """
    from accelerate import PartialState
    from torch.distributed import distributed_c10d

    asked = int(os.environ["WORLD_SIZE"])
    try:
        state = PartialState(cpu=kind == "cpu", timeout=_WAIT)
    except (RuntimeError, ValueError, NotImplementedError, ImportError) as error:
        raise HarnessError(f"the {asked} processes did not find each other: {error}") from None
    if state.num_processes != asked:
        raise HarnessError(
            f"WORLD_SIZE is {asked}, but accelerate counts {state.num_processes}: it was set up "
            "otherwise in this process (PartialState(cpu=True) on a CPU), or the variable is a "
            "leftover"
        )
    atexit.register(state.destroy_process_group)
    store = distributed_c10d._get_default_store()
    ranks = Ranks(state.process_index, state.local_process_index, asked, store)
    stop = threading.Event()
    atexit.register(stop.set)
    threading.Thread(target=ranks.beat, args=(stop,), daemon=True).start()
    return ranks


def parse_part(text: str) -> tuple[int, int]:
    """`i/n`: the i-th of n static parts, from 0, for machines without a common launcher."""
    first, slash, second = text.partition("/")
    if not slash or not first.isdigit() or not second.isdigit() or int(first) >= int(second):
        raise HarnessError(f"cannot read shard {text!r}: expected i/n with i from 0 to n-1")
    return int(first), int(second)
