"""A run that exists, planned again from its folder: its sampler and model, and its shards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from harness.core.call import Call, parse_call
from harness.core.shards import Prompt, Shard
from harness.runs.folder import Settings
from harness.runs.plan import PlannedRun, Planner
from harness.samplers.pipeline_function import kept_in
from harness.store.run import MODEL_AT, Run

ROWS = ["prompt_id", "prompt", "category", "notes", "seed"]
"""The columns of images that `shard_of_rows` takes."""


def planned_again(run: Run, settings: Settings) -> PlannedRun:
    """The plan of an existing run; a sampler from a file is that of the copy in its folder."""
    spec, about = run.spec, run.record["environment"]
    model, call = parse_call(spec.model), spec.sampler
    planner = Planner(
        Call(about.get(MODEL_AT, model.name), model.params),
        size=spec.size,
        dtype=spec.dtype,
        device=settings.device,
        noise_key=spec.noise_key,
        negative=spec.negative,
        guide=spec.guide,
    )
    return planner.plan(
        Call(kept_in(run.path, call.name), call.params) if "sampler file" in about else call
    )


def shard_of_rows(name: str, rows: Sequence[dict[str, Any]], size: int) -> Shard:
    """The shard of this name; the run's are of `size` items, but for the last of a seed."""
    prompts = tuple(
        Prompt(r["prompt_id"], r["prompt"], r["category"], json.loads(r["notes"])) for r in rows
    )
    _, seed, index = name.rsplit("-", 2)
    consecutive = len({row["seed"] for row in rows}) > 1 or not rows[0]["prompt"]
    return Shard(int(seed), int(index), size * int(index), prompts, consecutive)
