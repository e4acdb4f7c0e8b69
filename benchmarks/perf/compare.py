"""How long a comparison takes: synthetic runs on disk, no pictures in them.

    python benchmarks/perf/compare.py FOLDER [--prompts 250000] [--seeds 4] [--metrics 5]
        [--shard 32] [--no-index]

Writes two runs below FOLDER (once: 440,000 files take a while), with the index that an evaluation
leaves, compares them, and prints seconds and peak memory. `--no-index` leaves it aside.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.comparison import MetricInfo, compare
from harness.core.call import Call
from harness.core.run_spec import RunSpec
from harness.store import index
from harness.store.comparison_tables import ComparisonTables
from harness.store.run import Run
from harness.store.schema import IMAGES, SCORES, TIMING

CATEGORIES = np.array(["animals", "colour", "counting", "people", "text"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", type=int, default=250_000)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--metrics", type=int, default=5)
    parser.add_argument("--shard", type=int, default=32)
    parser.add_argument("--no-index", action="store_true")
    asked = parser.parse_args()
    metrics = [MetricInfo(f"metric-{i}", "higher") for i in range(asked.metrics)]
    runs = []
    for name, shift in (("ddim", 0.0), ("zigzag", 0.1)):
        path = str(asked.folder / name)
        if not (asked.folder / name / "run.json").exists():
            write(path, Call(name), metrics, shift, asked)
        runs.append(Run.open(path))
    if asked.no_index:
        index.LEAST = sys.maxsize
    for run in runs:
        print(f"{run.path}: index up to date in {timed(run.update_index)}")
    found: list[ComparisonTables] = []
    baselines = {"own": runs[0]}
    took = timed(lambda: found.append(compare(runs[1], baselines, metrics, str(asked.folder))))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    pairs = found[0].rate("own", metrics[0].name).pairs
    about = f"{pairs:,} pairs x {len(metrics)} metrics, shards of {asked.shard}"
    print(f"{about}: {took}, {peak:.2f} GiB at most")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


def timed(work: Callable[[], object]) -> str:
    began, busy = time.perf_counter(), time.process_time()
    work()
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    return f"{seconds:.1f} s ({busy:.1f} s of CPU)"


def write(
    path: str, call: Call, metrics: list[MetricInfo], shift: float, asked: argparse.Namespace
) -> None:
    """A run whose scores have prompt effects and share their noise with every other run's.

    `run.json` comes last, so that one that was not written to its end is written again.
    """
    effects = np.random.default_rng(0).normal(size=(asked.metrics, asked.prompts))
    for seed in range(asked.seeds):
        shared = np.random.default_rng([1, seed])
        own = np.random.default_rng([2, seed, int(10 * shift)])
        noise = shared.normal(size=effects.shape) + own.normal(size=effects.shape)
        values = effects + noise + shift
        images = image_rows(np.arange(asked.prompts), seed)
        tables = {"images": images}
        for metric, scores in zip(metrics, values, strict=True):
            nothing = pa.nulls(asked.prompts, pa.string())
            rows = [images["item_id"], [metric.name] * asked.prompts, scores, nothing]
            tables[f"scores/{metric.name}"] = pa.table(rows, schema=SCORES)
        for number, first in enumerate(range(0, asked.prompts, asked.shard)):
            shard = f"part-{seed:05d}-{number:05d}"
            parts = {kind: table.slice(first, asked.shard) for kind, table in tables.items()}
            parts["timing"] = timing_row(shard, len(parts["images"]))
            for kind, part in parts.items():
                put(f"{path}/{kind}/{shard}.parquet", part, {"items": shard, "identity": "1"})
    Run.create(path, RunSpec("shapes", call, (64, 64), "float32", "prompt"), {}, {})


def image_rows(numbers: np.ndarray, seed: int) -> pa.Table:
    count = len(numbers)
    branches = [{"network": "unet", "branch": "cond", "evaluations": 20}]
    columns = {
        "item_id": [f"p{number}/{seed}" for number in numbers],
        "prompt_id": [f"p{number}" for number in numbers],
        "prompt": [f"a picture of the number {number}" for number in numbers],
        "category": CATEGORIES[numbers % len(CATEGORIES)],
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
    return pa.table(columns, schema=IMAGES)


def timing_row(shard: str, count: int) -> pa.Table:
    timing = {"shard": shard, "images": count, "seconds": 0.5 * count, "device": "cpu"}
    return pa.Table.from_pylist([{**timing, "threads": 1}], TIMING)


def put(path: str, table: pa.Table, metadata: dict[str, str]) -> None:
    """As the store does, but for waiting for the disk at every file."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    known = table.schema.metadata or {}
    pq.write_table(table.replace_schema_metadata(known | metadata), path, compression="zstd")


if __name__ == "__main__":
    main()
