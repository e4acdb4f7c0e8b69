"""Clocks, counters and what the machine is: for works that are compared in one run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

import torch

Work = Callable[[int], Iterator[torch.Tensor]]
"""One batch with so many steps: yields what each stage gives, the latents and then the pictures,
or the pictures alone."""

COUNTED = ("cudaStreamSynchronize", "aten::item", "aten::nonzero", "Memcpy HtoD", "Memcpy DtoH")


@dataclass
class Times:
    """Seconds of a work: a list entry is a round, its items the stages. `memory` in bytes."""

    laps: list[list[float]] = field(default_factory=list)
    memory: int = 0

    def add(self, laps: list[float], memory: int) -> None:
        self.laps.append(laps)
        self.memory = max(self.memory, memory)

    @property
    def whole(self) -> list[float]:
        """Seconds of each round."""
        return [sum(laps) for laps in self.laps]

    @property
    def sampling(self) -> list[float]:
        """Seconds of each round's first stage."""
        return [laps[0] for laps in self.laps]


def clock(device: str) -> float:
    """Seconds: of the wall with a GPU's work done; on one thread of a CPU, of this process.

    Other programs on the machine do not change a process's own time.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def measured(work: Work, steps: int, device: str) -> tuple[list[float], int, list[torch.Tensor]]:
    """Seconds of each stage, peak memory in bytes, and what the stages gave."""
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    stages, given = work(steps), []
    marks = [clock(device)]
    for result in stages:
        marks.append(clock(device))
        given.append(result)
    memory = torch.cuda.max_memory_allocated(device) if on_gpu else 0
    return [b - a for a, b in pairwise(marks)], memory, given


def alternate(
    works: Mapping[str, tuple[Work, int]], rounds: int, device: str
) -> Iterator[dict[str, Times]]:
    """Each work with its steps, in turn, `rounds` times, after two steps of each to warm up.

    Yields the times so far after each work, and says on standard error what it took.
    """
    for name, (work, _) in works.items():
        _say(f"{name}, 2 steps to warm up", measured(work, 2, device)[0])
    found = {name: Times() for name in works}
    for turn in range(rounds):
        for name, (work, steps) in works.items():
            laps, memory, _ = measured(work, steps, device)
            found[name].add(laps, memory)
            _say(f"{name}, round {turn + 1}", laps)
            yield found


def _say(what: str, laps: list[float]) -> None:
    print(f"{what}: {sum(laps):.3f} s", file=sys.stderr, flush=True)


def speed_ratio(seconds: list[float], others: list[float]) -> float:
    """How fast a work is beside another: the median over rounds, so that drift cancels."""
    return median(other / own for own, other in zip(seconds, others, strict=True))


def counts(work: Work, evaluations: int, device: str) -> dict[str, dict[str, float]]:
    """What the host does for one evaluation of the network (a step has so many), and in all of a
    batch of 4 steps. From profiles of the first stage with 2 and 4 steps."""
    few, many = (_profiled(work, steps, device) for steps in (2, 4))
    each = {name: (many[name] - few[name]) / 2 / evaluations for name in COUNTED}
    return {"an evaluation": each, "a batch of 4 steps": many}


def _profiled(work: Work, steps: int, device: str) -> dict[str, float]:
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU]
    if torch.device(device).type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    stages = work(steps)
    with profile(activities=activities, acc_events=True) as found:
        next(stages)
    events = [(event.key, event.count) for event in found.key_averages()]
    return {name: sum(n for key, n in events if key.startswith(name)) for name in COUNTED}


def machine(device: str) -> dict[str, Any]:
    """The card, driver, versions and cores of this process."""
    import diffusers

    about: dict[str, Any] = {
        "device": platform.machine() + " CPU",
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }
    if torch.device(device).type == "cuda":
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = ""
        with suppress(OSError):
            driver = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
        about["device"] = torch.cuda.get_device_name(device)
        about["driver"] = driver.split("\n")[0].strip() or "unknown"
        about["cudnn"] = torch.backends.cudnn.version()
    return about
