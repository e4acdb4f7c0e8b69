"""The rank of this process among those of a launcher, and which shard it takes next.

torchrun, `accelerate launch` and `notebook_launcher` start the processes; `accelerate` tells each
its rank. They share the launcher's key-value store; a counter in it hands out the next shard, so
that a slow device does not hold up the rest. There is no collective on the way: a rank that dies
loses its shard in hand, and the next run makes it.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

from harness.core.errors import HarnessError
from harness.runs.devices import kind_of

T = TypeVar("T")

_WAIT = timedelta(minutes=30)


class Ranks:
    """This process among those of a launcher: `rank` of `world`, on one or many machines."""

    _here: ClassVar[Ranks | None] = None

    def __init__(
        self, rank: int = 0, local_rank: int = 0, world: int = 1, store: Any = None
    ) -> None:
        self.rank, self.local_rank, self.world, self._store = rank, local_rank, world, store
        self._names = 0

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
    return Ranks(state.process_index, state.local_process_index, asked, store)


def parse_part(text: str) -> tuple[int, int]:
    """`i/n`: the i-th of n static parts, from 0, for machines without a common launcher."""
    first, slash, second = text.partition("/")
    if not slash or not first.isdigit() or not second.isdigit() or int(first) >= int(second):
        raise HarnessError(f"cannot read shard {text!r}: expected i/n with i from 0 to n-1")
    return int(first), int(second)
