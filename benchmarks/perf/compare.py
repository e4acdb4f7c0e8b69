"""How long a comparison takes: synthetic runs on disk, no pictures in them.

    python benchmarks/perf/compare.py FOLDER [--prompts 250000] [--seeds 4] [--metrics 5]
        [--shard 32] [--no-index]

Writes two runs below FOLDER (once), with the index that an evaluation leaves, compares them, and
prints seconds and peak memory. `--no-index` leaves it aside. Shards are those of pictures of 64x64,
or all of `--shard` images (440,000 files of 32).
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from harness.comparison import MetricInfo, compare
from harness.core.call import Call
from harness.core.layout import Layout
from harness.core.run_spec import RunSpec
from harness.core.shards import Prompt, plan_shards
from harness.store import files, index, sealing
from harness.store.comparison_tables import ComparisonTables
from harness.store.run import Run
from harness.store.run_layout import SHARDS, new_layout
from harness.store.schema import IMAGES, SCORES, TIMING

ROOT = Path(__file__).resolve().parents[2]
CATEGORIES = np.array(["animals", "colour", "counting", "people", "text"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", type=int, default=250_000)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--metrics", type=int, default=5)
    parser.add_argument("--shard", type=int)
    parser.add_argument("--no-index", action="store_true")
    asked = parser.parse_args()
    metrics = [MetricInfo(f"metric-{i}", "higher") for i in range(asked.metrics)]
    runs = []
    for name, shift in (("ddim", 0.0), ("zigzag", 0.1)):
        path = str(asked.folder / name)
        if not (asked.folder / name / "run.json").exists():
            write(path, Call(name), metrics, shift, asked)
        runs.append(Run.open(path))
    resumed(runs[0].path, asked)
    if asked.no_index:
        index.LEAST = sys.maxsize
    for run in runs:
        print(f"{run.path}: index up to date in {timed(run.update_index)}")
    found: list[ComparisonTables] = []
    baselines = {"own": runs[0]}
    took = timed(lambda: found.append(compare(runs[1], baselines, metrics, str(asked.folder))))
    pairs = found[0].rate("own", metrics[0].name).pairs
    shards = f"shards of {asked.shard}" if asked.shard else "growing shards"
    about = f"{pairs:,} pairs x {len(metrics)} metrics, {len(runs[0].shards()):,} {shards}"
    print(f"{about}: {took}, {peak():.2f} GiB at most")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


def resumed(path: str, asked: argparse.Namespace) -> None:
    """How long it takes to plan a run again and to find that nothing is missing."""
    code = "import sys; from benchmarks.perf.compare import look; look(*sys.argv[1:])"
    given = [path, str(asked.prompts), str(asked.seeds)]
    subprocess.run([sys.executable, "-c", code, *given], check=True, cwd=ROOT)


def look(path: str, prompts: str, seeds: str) -> None:
    """In a process of its own, for its memory."""
    from harness.runs.folder import missing

    run, texts, left = Run.open(path), numbered(int(prompts)), []

    def plan() -> None:
        left.extend(missing(run, plan_shards(texts, range(int(seeds)), run.layout)))

    before = peak()
    took = timed(plan)
    print(
        f"resume {int(prompts) * int(seeds):,} images, {len(left)} shards missing: {took}, "
        f"{peak():.2f} GiB at most, {before:.2f} before"
    )


def peak() -> float:
    """The most memory that this process had, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def timed(work: Callable[[], object]) -> str:
    began, busy = time.perf_counter(), time.process_time()
    work()
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    return f"{seconds:.1f} s ({busy:.1f} s of CPU)"


def write(
    path: str, call: Call, metrics: list[MetricInfo], shift: float, asked: argparse.Namespace
) -> None:
    """A run whose scores have prompt effects and share their noise with every other run's.

    It gets its name last, so that one that was not written to its end is written again.
    """
    final, path = path, f"{path}.part"
    shutil.rmtree(path, ignore_errors=True)
    spec = RunSpec("shapes", call, (64, 64), "float32", "prompt")
    layout = Layout(asked.shard, asked.shard) if asked.shard else new_layout(spec)
    run = Run.create(path, spec, {}, {})
    run.record[SHARDS] = asdict(layout)
    files.write_json(f"{path}/run.json", run.record)
    effects = np.random.default_rng(0).normal(size=(asked.metrics, asked.prompts))
    for shard in plan_shards(numbered(asked.prompts), range(asked.seeds), layout):
        here = slice(shard.first, shard.first + len(shard.part))
        parts = [image_rows(np.arange(asked.prompts)[here], seed) for seed in shard.at]
        images = pa.concat_tables(parts)
        tables = {"images": images, "timing": timing_row(shard.name, shard.count)}
        shape = (len(metrics), shard.count)
        shared = np.random.default_rng([1, shard.seed, shard.index]).normal(size=shape)
        own = np.random.default_rng([2, shard.seed, shard.index, int(10 * shift)])
        values = np.tile(effects[:, here], len(shard.at)) + shared + own.normal(size=shape) + shift
        for metric, scores in zip(metrics, values, strict=True):
            nothing = pa.nulls(shard.count, pa.string())
            rows = [images["item_id"], [metric.name] * shard.count, scores, nothing]
            tables[f"scores/{metric.name}"] = pa.table(rows, schema=SCORES)
        for kind, part in tables.items():
            marks = {"run": spec.run_id, "file": f"{kind}/{shard.name}", "identity": "1"}
            put(f"{path}/{kind}/{shard.name}.parquet", part, {**marks, "items": shard.items_key})
    os.rename(path, final)


def numbered(count: int) -> list[Prompt]:
    """Prompts as `image_rows` has them."""
    about = zip(range(count), CATEGORIES[np.arange(count) % len(CATEGORIES)].tolist(), strict=True)
    return [Prompt(f"p{n}", f"a picture of the number {n}", category) for n, category in about]


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
    Path(path).write_bytes(sealing.sealed(table.replace_schema_metadata(known | metadata)))


if __name__ == "__main__":
    main()
