"""A run that exists, planned again from its folder: its sampler and model, and its shards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.core.call import Call, parse_call
from harness.core.layout import Layout
from harness.core.shards import Prompt, Shard, unprompted
from harness.runs.folder import Settings
from harness.runs.plan import PlannedRun, Planner
from harness.samplers.pipeline_function import kept_in
from harness.store.resuming import ROUNDING
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


def computed_as(run: Run, settings: Settings) -> Settings:
    """The settings with the rounding that an existing run was begun with, as far as the device has
    it."""
    about = run.record["environment"]
    tf32, compiled = (name in about for name in ROUNDING)
    tf32 = tf32 and settings.device.startswith("cuda")
    return replace(settings, tf32=tf32, compile=compiled)


def shard_of_rows(name: str, rows: Sequence[dict[str, Any]], layout: Layout) -> Shard:
    """The shard of this name, in a run of this layout, whose images have these rows."""
    fields = dict.fromkeys((r["prompt_id"], r["prompt"], r["category"], r["notes"]) for r in rows)
    part = tuple(Prompt(p, text, kind, json.loads(notes)) for p, text, kind, notes in fields)
    seed, index = map(int, name.rsplit("-", 2)[1:])
    first = 0 if unprompted(part) else layout.first(index)
    return Shard(seed, index, first, part, tuple(dict.fromkeys(row["seed"] for row in rows)))
