"""How long a comparison takes: synthetic runs on disk, no pictures in them.

    python benchmarks/perf/compare.py FOLDER [--prompts 250000] [--seeds 4] [--metrics 5]

Writes two runs below FOLDER (once), compares them, and prints seconds and peak memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from harness.compare import MetricInfo, compare
from harness.spec import Call, RunSpec
from harness.store import files
from harness.store.run import Run
from harness.store.schema import IMAGES, SCORES, TIMING

CATEGORIES = np.array(["animals", "colour", "counting", "people", "text"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", type=int, default=250_000)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--metrics", type=int, default=5)
    parser.add_argument("--shard-size", type=int, default=1000)
    asked = parser.parse_args()
    metrics = [MetricInfo(f"metric-{i}", "higher") for i in range(asked.metrics)]
    runs = []
    for name, shift in (("ddim", 0.0), ("zigzag", 0.1)):
        path = str(asked.folder / name)
        if not (asked.folder / name / "run.json").exists():
            write(path, Call(name), metrics, shift, asked)
        runs.append(Run.open(path))
    began, busy = time.perf_counter(), time.process_time()
    result = compare(runs[1], {"own": runs[0]}, metrics, str(asked.folder))
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    pairs = int(result.rate("own", metrics[0].name)["pairs"])
    took = f"{seconds:.1f} s ({busy:.1f} s of CPU), {peak:.2f} GiB at most"
    print(f"{pairs:,} pairs x {len(metrics)} metrics, shards of {asked.shard_size}: {took}")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


def write(
    path: str, call: Call, metrics: list[MetricInfo], shift: float, asked: argparse.Namespace
) -> None:
    """A run whose scores have prompt effects and share their noise with every other run's."""
    run = Run.create(path, RunSpec("shapes", call, (64, 64), "float32", "prompt"), {}, {})
    effects = np.random.default_rng(0).normal(size=(asked.metrics, asked.prompts))
    numbers = np.arange(asked.prompts)
    for seed in range(asked.seeds):
        shared = np.random.default_rng([1, seed])
        own = np.random.default_rng([2, seed, int(10 * shift)])
        noise = shared.normal(size=effects.shape) + own.normal(size=effects.shape)
        values = effects + noise + shift
        for index, first in enumerate(range(0, asked.prompts, asked.shard_size)):
            part = numbers[first : first + asked.shard_size]
            write_shard(run, f"part-{seed:05d}-{index:05d}", part, seed, metrics, values[:, part])


def write_shard(
    run: Run, shard: str, part: np.ndarray, seed: int, metrics: list[MetricInfo], values: np.ndarray
) -> None:
    count = len(part)
    ids = [f"p{number}/{seed}" for number in part]
    branches = [{"network": "unet", "branch": "cond", "evaluations": 20}]
    columns = {
        "item_id": ids,
        "prompt_id": [f"p{number}" for number in part],
        "prompt": [f"a picture of the number {number}" for number in part],
        "category": CATEGORIES[part % len(CATEGORIES)],
        "notes": ["{}"] * count,
        "seed": [seed] * count,
        "class": pa.nulls(count, pa.int32()),
        "image": pa.nulls(count, IMAGES.field("image").type),
        "width": [64] * count,
        "height": [64] * count,
        "failed": pa.nulls(count, pa.string()),
        "nfe": [20] * count,
        "nfe_by_branch": [branches] * count,
        "guidance_scale": [5.0] * count,
    }
    put(run.file("images", shard), pa.table(columns, schema=IMAGES), {"items": shard})
    timing = {"shard": shard, "images": count, "seconds": 0.5 * count, "device": "cpu"}
    put(run.file("timing", shard), pa.Table.from_pylist([{**timing, "threads": 1}], TIMING), {})
    for metric, scores in zip(metrics, values, strict=True):
        rows = [ids, [metric.name] * count, scores, pa.nulls(count, pa.string())]
        table = pa.table(rows, schema=SCORES)
        metadata = {"items": shard, "identity": "1"}
        put(run.file(f"scores/{metric.name}", shard), table, metadata)


def put(path: str, table: pa.Table, metadata: dict[str, str]) -> None:
    files.write_table(path, table, metadata)


if __name__ == "__main__":
    main()
