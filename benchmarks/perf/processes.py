"""Two processes of the harness against two independent bare loops: images a second, on a CPU.

    python -m benchmarks.perf.processes [--rounds 5] [--images 128]

The embedded model, DDIM with 20 steps and guidance, one thread each. Both kinds of processes are
started before the clock and stay; they take turns. Ours make a run as a bench does: work handed out
shard by shard, pictures and their records on disk, progress. The bare loops draw as many pictures,
from conditions encoded before, and keep none. Where other programs share the cores, the images a
second of the processes' own time tell more than those of the wall; a sum above the cores' does not
count what waits for the slower of two.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

from benchmarks.perf.contestants import CAPTIONS, Harness, Pipeline
from benchmarks.perf.timing import machine, speed_ratio
from harness.core.shards import Grid, Prompt
from harness.runs.folder import Settings, open_run
from harness.runs.plan import plan
from harness.runs.work import write_work

BATCH, STEPS, PROCESSES, GUIDANCE = 16, 20, 2, 5.5
Round = Callable[[], tuple[float, float]]
"""Draws the images; the seconds of the wall, and of the processes' own."""


def _bare(told: Any, images: int) -> None:
    """One process of the bare loop, which draws whenever it is told to."""
    torch.set_num_threads(1)
    harness = Harness("shapes", BATCH, "cpu", GUIDANCE)
    harness.ensemble.encode(harness.texts, harness.negatives)
    pipeline = Pipeline(harness)
    list(pipeline.bare(2))
    told.send(0.0)
    while told.recv():
        began = time.process_time()
        for _ in range(images // BATCH):
            list(pipeline.bare(STEPS))
        told.send(time.process_time() - began)


@contextmanager
def bare_loops(images: int) -> Iterator[Round]:
    """Independent processes that share nothing but the machine."""
    context = multiprocessing.get_context("spawn")
    ends = [context.Pipe() for _ in range(PROCESSES)]
    loops = [
        context.Process(target=_bare, args=(end, images // PROCESSES), daemon=True)
        for _, end in ends
    ]
    for loop in loops:
        loop.start()
    own = [end for end, _ in ends]
    for end in own:
        end.recv()

    def draw() -> tuple[float, float]:
        began = time.perf_counter()
        for end in own:
            end.send(True)
        taken = [end.recv() for end in own]
        return time.perf_counter() - began, sum(taken)

    yield draw
    for end in own:
        end.send(False)


@contextmanager
def ours(images: int, folder: Path) -> Iterator[Round]:
    """The worker processes of an experiment, and a new run for each round."""
    settings = replace(Settings.chosen("cpu", 1, BATCH, PROCESSES))
    job = plan("shapes", f"ddim(steps={STEPS}, guidance={GUIDANCE})", device="cpu")
    prompts = [Prompt(str(i), f"{CAPTIONS[i % 16]} {i // 16}") for i in range(32)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    before, made = set(psutil.Process().children()), [0]
    cost: list[dict[str, Any]] = []

    def make(count: int) -> tuple[float, float]:
        made[0] += 1
        run = open_run(job, str(folder / f"run{made[0]}"), settings)
        if cost:
            run.set_cost(cost[0])  # which is counted once a run
        shards = Grid(prompts, range(count // len(prompts))).shards(run.layout)
        listed = str(folder / "work.json")
        write_work(listed, [(job, run, shard) for shard in shards], settings)
        spent, began = _spent(before), time.perf_counter()
        settings.crew.do(["make-shards", listed, "--device", "cpu"], PROCESSES, environment)
        taken = time.perf_counter() - began, _spent(before) - spent
        cost.append(run.cost() or {})
        return taken

    with settings.crew:
        make(2 * len(prompts))
        yield lambda: make(images)


def _spent(others: set[psutil.Process]) -> float:
    """Seconds of processors that the processes started here since have taken."""
    started = set(psutil.Process().children()) - others
    family = [one for first in started for one in (first, *first.children(recursive=True))]
    times = [one.cpu_times() for one in family]
    return sum(one.user + one.system for one in times)


def figures(rounds: int, images: int) -> dict[str, Any]:
    """Every round of both, in turn, and the ratios of their speeds."""
    with (
        tempfile.TemporaryDirectory() as folder,
        bare_loops(images) as bare,
        ours(images, Path(folder)) as made,
    ):
        pairs = [(made(), bare()) for _ in range(rounds)]
    found: dict[str, Any] = {"images": images, "rounds": pairs}
    for at, clock in enumerate(("wall", "own time")):
        mine, others = ([one[side][at] for one in pairs] for side in (0, 1))
        found[f"ours, images per second of {clock}"] = images / median(mine)
        found[f"bare, images per second of {clock}"] = images / median(others)
        found[f"ours over bare, {clock}"] = speed_ratio(mine, others)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=128, help="of a round, a multiple of 32")
    asked = parser.parse_args()
    print(json.dumps({**machine("cpu"), **figures(asked.rounds, asked.images)}, indent=1))


if __name__ == "__main__":
    main()
