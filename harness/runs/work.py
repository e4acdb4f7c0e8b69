"""Lists of shards to make: made by this process, or by several that read one from a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.core.shards import Prompt, Shard
from harness.engine.resolve import portable
from harness.runs.claims import Claims
from harness.runs.devices import pick_device
from harness.runs.folder import Settings
from harness.runs.kept_model import Loaded
from harness.runs.make import generate
from harness.runs.plan import PlannedRun, Planner
from harness.runs.progress import Progress
from harness.runs.rank_log import folder_of_logs
from harness.runs.ranks import Ranks
from harness.store.run import Run

Work = Sequence[tuple[PlannedRun, Run, Shard]]
"""Shards that are missing, of runs of one model."""

Take = Callable[[Work], Iterable[tuple[PlannedRun, Run, Shard]]]


def make_work(
    work: Work,
    settings: Settings,
    ranks: Ranks | None = None,
    images: int | None = None,
    claim: bool = False,
    made: int = 0,
    take: Take | None = None,
) -> None:
    """Make all shards of the list, shared with the other `ranks` if there are any.

    `images` are still to be made; None: those of all the shards, and as many as are `made` already.
    With `claim`, they are shared with whoever claims some, too. `take` gives the shards that this
    process makes, if not all that no other rank takes.
    """
    ranks = ranks or Ranks()
    if images is None:
        images = made + sum(shard.count for _, _, shard in work)
    log = folder_of_logs(settings.log_folder, sorted({run.path for _, run, _ in work}), ranks.world)
    texts = dict.fromkeys(prompt.text for _, _, shard in work for prompt in shard.part)
    title = ranks.name("first")  # processes that stay make several lists

    def named(one: tuple[PlannedRun, Run, Shard]) -> str:
        return f"{one[2].name} of {one[1].path}"

    with Progress(ranks, "generate", images, log, settings.tracker) as progress:
        if not claim:
            if made and ranks.rank == 0:
                progress.add(made)
            shared = progress.each((take or ranks.share)(work), named)
            generate(shared, settings, progress.add, lambda k: ranks.first(f"{title}/{k}"), texts)
            return
        elsewhere = progress.add if ranks.world == 1 else lambda images: None
        with Claims() as claims:
            claimed = progress.each(claims.share(work, elsewhere), named)
            generate(claimed, settings, progress.add, texts=texts)


def in_turn(work: Work) -> Work:
    """The work so that shards of one name follow each other, as runs share their prompts."""
    return sorted(work, key=lambda one: (one[2].seed, one[2].index))


def write_work(path: str | Path, work: Work, settings: Settings, made: int = 0) -> None:
    """Write a list of work and its settings for `read_work` in other processes on this machine,
    and how many images were made before."""
    shards = {_shard_key(shard): shard for _, _, shard in work}
    places = {key: at for at, key in enumerate(shards)}
    prompts = {prompt.id: prompt for shard in shards.values() for prompt in shard.part}
    record = {
        "prompts": [[p.id, p.text, p.category, p.notes] for p in prompts.values()],
        "shards": [_shard_record(shard) for shard in shards.values()],
        "runs": {run.path: _run_record(planned) for planned, run, _ in work},
        "work": [[run.path, places[_shard_key(shard)]] for _, run, shard in work],
        "settings": settings.shared(),
        "made": made,
    }
    Path(path).write_text(json.dumps(record), encoding="utf-8")


def read_work(
    path: str | Path, ranks: Ranks, loaded: Loaded | None = None
) -> tuple[Work, Settings, int]:
    """The work that `write_work` wrote, planned again here, its settings on a rank's device, and
    how many images were made before.

    A process that does several lists hands the model that is loaded from one to the next.
    """
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    where = pick_device(record["settings"]["asked"], ranks.local_rank)
    settings = Settings(**record["settings"], device=where, loaded=loaded or Loaded())
    prompts = {fields[0]: Prompt(*fields) for fields in record["prompts"]}
    shards = [
        Shard(seed, index, first, tuple(prompts[key] for key in ids), tuple(seeds))
        for seed, index, first, ids, seeds in record["shards"]
    ]
    distinct = {str(shared): shared for _, shared in record["runs"].values()}
    planners = {
        key: Planner(**{**shared, "size": tuple(shared["size"])})
        for key, shared in distinct.items()
    }
    runs = {
        where: (planners[str(shared)].plan(sampler), Run.open(where))
        for where, (sampler, shared) in record["runs"].items()
    }
    return [(*runs[where], shards[at]) for where, at in record["work"]], settings, record["made"]


def _shard_key(shard: Shard) -> tuple[str, str]:
    """Runs may hold other parts of a shard of one name."""
    return shard.name, shard.items_key


def _shard_record(shard: Shard) -> list[Any]:
    ids = [prompt.id for prompt in shard.part]
    return [shard.seed, shard.index, shard.first, ids, shard.at]


def _run_record(planned: PlannedRun) -> tuple[str, dict[str, Any]]:
    """The sampler's text, and the settings of the run's Planner."""
    spec = planned.spec
    names = ("size", "dtype", "noise_key", "negative", "guide")
    shared = {"model": str(planned.model), **{name: getattr(spec, name) for name in names}}
    return str(portable(spec.sampler)), shared
