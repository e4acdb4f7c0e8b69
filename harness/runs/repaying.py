"""How many processes a list of work repays: by what it takes, as recorded or as seen on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from statistics import mean
from time import perf_counter

from harness.core.shards import Shard
from harness.runs.devices import device_name
from harness.runs.folder import Settings
from harness.runs.plan import PlannedRun
from harness.runs.rates import recorded
from harness.store import files
from harness.store.run import Run

Item = tuple[PlannedRun, Run, Shard]

START = 10.0
"""Seconds until processes that are started can load a model."""

_AT_LEAST = 2  # shards a process on a GPU that no rate is known of
_UNCOUNTED = 50  # evaluations an image of a function of a pipeline, roughly
_TELLING = 60.0  # seconds of a first shard, of which loading the model is little


def repaid(seconds: float, parts: int, most: int, cost: float = START) -> int:
    """How many processes, at most `most`, are the soonest done with equal `parts` of work that one
    does in `seconds`; 1 where that does not repay the `cost` of starting them, in seconds."""

    def wall(count: int) -> float:
        return seconds * ceil(parts / count) / parts + (cost if count > 1 else 0.0)

    return min(range(1, min(most, parts) + 1), key=wall, default=1)


def planned_processes(work: Sequence[Item], settings: Settings, most: int) -> int:
    """How many processes, at most `most`, to start for shards of runs of one model.

    By the rate that runs beside these recorded on this device. Where there is none: one for every
    two shards on GPUs, and on a CPU one, which sees how long its first shards take.
    """
    if most == 1 or len(work) == 1:
        return 1
    job, run, _ = work[0]
    known = recorded(files.parent(files.parent(files.parent(run.path))), job, settings.device)
    if known and known.rate and known.device == device_name(settings.device):
        return repaid(known.rate * sum(map(_evaluations, work)), len(work), most)
    return 1 if settings.device == "cpu" else max(1, min(most, len(work) // _AT_LEAST))


class Alone:
    """Work that one process does, until others repay being started for the `rest`."""

    def __init__(self, most: int) -> None:
        self.most, self.count, self.rest = most, 1, list[Item]()

    def take(self, work: Sequence[Item]) -> Iterator[Item]:
        """The items, each done before the next is taken, up to the `rest` for `count` others."""
        seconds: list[float] = []
        for at, item in enumerate(work):
            if len(seconds) > 1 or sum(seconds) > _TELLING:
                self.count = self._processes(work, seconds)
            if self.count > 1:
                self.rest = list(work[at:])
                return
            began = perf_counter()
            yield item
            seconds.append(perf_counter() - began)

    def _processes(self, work: Sequence[Item], seconds: Sequence[float]) -> int:
        """How many are repaid, after so many seconds of each shard that is made.

        The quickest shard of a run says what its evaluations take, or the mean of runs. The first
        of all is left out, where there are more: what it took beyond that is loading the model,
        which the others have to do, too.
        """
        paces: dict[str, float] = {}
        since = min(1, len(seconds) - 1)
        for item, took in zip(work[since : len(seconds)], seconds[since:], strict=True):
            pace, path = took / _evaluations(item), item[1].path
            paces[path] = min(pace, paces.get(path, pace))

        def expected(item: Item) -> float:
            return _evaluations(item) * paces.get(item[1].path, mean(paces.values()))

        rest = [expected(item) for item in work[len(seconds) :]]
        cost = START + max(0.0, seconds[0] - expected(work[0]))
        return repaid(sum(rest), len(rest), self.most, cost)


def _evaluations(item: Item) -> int:
    job, _, shard = item
    return shard.count * (job.nfe or _UNCOUNTED)
