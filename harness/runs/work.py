"""Lists of shards to make: made by this process, or by several that read one from a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.core.shards import Prompt, Shard
from harness.engine.resolve import portable
from harness.runs.folder import Settings
from harness.runs.make import generate
from harness.runs.plan import PlannedRun, Planner
from harness.runs.progress import Progress
from harness.runs.rank_log import folder_of_logs
from harness.runs.ranks import Ranks
from harness.store.run import Run

Work = Sequence[tuple[PlannedRun, Run, Shard]]
"""Shards that are missing, of runs of one model."""


def make_work(
    work: Work, settings: Settings, ranks: Ranks | None = None, images: int | None = None
) -> None:
    """Make all shards of the list, shared with the other `ranks` if there are any.

    `images` are still to be made; None: those of all the shards.
    """
    ranks = ranks or Ranks()
    if images is None:
        images = sum(len(shard.prompts) for _, _, shard in work)
    log = folder_of_logs(settings.log_folder, [run.path for _, run, _ in work], ranks.world)
    with Progress(ranks, "generate", images, log, settings.tracker) as progress:
        shared = progress.each(ranks.share(work), lambda one: f"{one[2].name} of {one[1].path}")
        generate(shared, settings, progress.add, ranks.first)


def write_work(path: str | Path, work: Work) -> None:
    """Write a list of work for `read_work` in another process on this machine."""
    shards = {shard.name: shard for _, _, shard in work}
    prompts = {prompt.id: prompt for shard in shards.values() for prompt in shard.prompts}
    record = {
        "prompts": [[p.id, p.text, p.category, p.notes] for p in prompts.values()],
        "shards": {name: _shard_record(shard) for name, shard in shards.items()},
        "runs": {run.path: _run_record(planned) for planned, run, _ in work},
        "work": [[run.path, shard.name] for _, run, shard in work],
    }
    Path(path).write_text(json.dumps(record), encoding="utf-8")


def read_work(path: str | Path) -> Work:
    """The work that `write_work` wrote, planned again here."""
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    prompts = {fields[0]: Prompt(*fields) for fields in record["prompts"]}
    shards = {
        name: Shard(seed, index, first, tuple(prompts[key] for key in ids), consecutive)
        for name, (seed, index, first, ids, consecutive) in record["shards"].items()
    }
    distinct = {str(shared): shared for _, shared in record["runs"].values()}
    planners = {
        key: Planner(**{**shared, "size": tuple(shared["size"])})
        for key, shared in distinct.items()
    }
    runs = {
        where: (planners[str(shared)].plan(sampler), Run.open(where))
        for where, (sampler, shared) in record["runs"].items()
    }
    return [(*runs[where], shards[name]) for where, name in record["work"]]


def _shard_record(shard: Shard) -> list[Any]:
    ids = [prompt.id for prompt in shard.prompts]
    return [shard.seed, shard.index, shard.first, ids, shard.consecutive]


def _run_record(planned: PlannedRun) -> tuple[str, dict[str, Any]]:
    """The sampler's text, and the settings of the run's Planner."""
    spec = planned.spec
    names = ("size", "dtype", "noise_key", "negative", "guide")
    shared = {"model": str(planned.model), **{name: getattr(spec, name) for name in names}}
    return str(portable(spec.sampler)), shared
