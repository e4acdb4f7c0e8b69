"""Work over processes: who this process is, and which shard it takes next.

Under torchrun or `accelerate launch` the ranks share the launcher's own key-value store; a counter
in it hands out the next shard, so that a slow device does not hold up the rest. There is no process
group and no collective: a rank that dies loses its shard in hand, and the next run makes it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from harness.errors import HarnessError

T = TypeVar("T")

_WAIT = timedelta(minutes=30)
_MOST_ON_CPU = 8


class Ranks:
    """This process among its peers: `rank` of `world`, on one or many machines."""

    def __init__(
        self, rank: int = 0, local_rank: int = 0, world: int = 1, store: Any = None
    ) -> None:
        self.rank, self.local_rank, self.world, self._store = rank, local_rank, world, store
        self._queues = 0

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
        self._queues += 1
        if self._store is None:
            yield from items
            return
        while (at := self._store.add(f"next/{self._queues}", 1) - 1) < len(items):
            yield items[at]

    def add(self, name: str, amount: int) -> int:
        """Add to a counter that all ranks share; its new value."""
        if self._store is None:
            return amount
        return int(self._store.add(f"count/{name}", amount))

    def barrier(self, name: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait until every rank is here (the store may live in one of them)."""
        if self._store is None:
            return
        self._store.add(f"barrier/{name}", 1)
        while self._store.add(f"barrier/{name}", 0) < self.world:
            meanwhile()
            time.sleep(0.2)
        # The store's host leaves last, so that the others can still ask.
        self._store.add(f"left/{name}", 1)
        while self.rank == 0 and self._store.add(f"left/{name}", 0) < self.world:
            time.sleep(0.05)


def parse_part(text: str) -> tuple[int, int]:
    """`i/n`: the i-th of n static parts, from 0, for machines without a common launcher."""
    first, slash, second = text.partition("/")
    if not slash or not first.isdigit() or not second.isdigit() or int(first) >= int(second):
        raise HarnessError(f"cannot read shard {text!r}: expected i/n with i from 0 to n-1")
    return int(first), int(second)


def default_workers(device: str) -> int:
    """One process a GPU; without any, one a core, and no more than would crowd the memory."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.device_count() if device == "cuda:0" else 1
    return min(len(os.sched_getaffinity(0)), _MOST_ON_CPU)


def pick_device(wanted: str | None, local_rank: int = 0) -> str:
    """The device of this rank: its own GPU where there is one, else the CPU."""
    import torch

    if wanted:
        _check_device(wanted)
        return wanted
    if torch.cuda.is_available():
        return f"cuda:{local_rank % torch.cuda.device_count()}"
    return "cpu"


def _check_device(wanted: str) -> None:
    import torch

    try:
        kind = torch.device(wanted).type
    except RuntimeError:
        raise HarnessError(f"unknown device {wanted!r}: expected cpu, cuda or cuda:N") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise HarnessError("device cuda was asked for, but torch sees no GPU: give --device cpu")
