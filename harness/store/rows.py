"""Rows of the tables that generation writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from harness.core.nominal_scale import Evaluations
from harness.core.shards import Prompt, Shard, item_id
from harness.store import schema
from harness.store.image_files import Entry
from harness.store.pictures import Broken


def image_table(
    shard: Shard,
    pngs: Sequence[bytes | None],
    failed: Sequence[str | None],
    evaluations: Sequence[Mapping[tuple[str, str], int]],
    size: tuple[int, int],
    classes: Sequence[int | None],
    guidance: Sequence[float | None],
) -> pa.Table:
    """The shard's images: a PNG or the reason why there is none, and (network, branch) counts.

    `classes` are the labels of a class-conditional model, None for every other; `guidance` are the
    nominal scales.
    """
    rows = [
        {
            "item_id": item_id(prompt.id, seed),
            "prompt_id": prompt.id,
            "prompt": prompt.text,
            "category": prompt.category,
            "notes": prompt.notes_json,
            "seed": seed,
            "class": label,
            "image": None if png is None else {"bytes": png, "path": None},
            "width": size[1],
            "height": size[0],
            "failed": reason,
            "nfe": sum(counts.values()),
            "nfe_by_branch": [
                {"network": network, "branch": branch, "evaluations": count}
                for (network, branch), count in counts.items()
            ],
            "guidance_scale": scale,
        }
        for prompt, seed, label, png, reason, counts, scale in zip(
            shard.prompts, shard.seeds, classes, pngs, failed, evaluations, guidance, strict=True
        )
    ]
    return pa.Table.from_pylist(rows, schema=schema.IMAGES)


@dataclass(frozen=True)
class Guidance:
    """A batch's nominal guidance, step by step: see `schema.GUIDANCE`; NaN where unknown."""

    sigma: NDArray[np.float64]
    travel: NDArray[np.float64]
    scale: NDArray[np.float64]  # [steps, B], as push
    push: NDArray[np.float64]
    mean: NDArray[np.float64]  # [B]
    evaluations: Evaluations
    ga_eval: NDArray[np.float64] | None = None  # [B]


def guidance_table(shard: Shard, batches: Sequence[Guidance]) -> pa.Table:
    """The nominal guidance of a shard's images, one row each."""
    both = zip(shard.prompts, shard.seeds, strict=True)
    curves = [
        [batch.sigma, batch.travel, batch.scale[:, row], batch.push[:, row]]
        + [part if part.ndim == 1 else part[:, row] for part in batch.evaluations]
        for batch in batches
        for row in range(batch.scale.shape[1])
    ]
    kind = schema.GUIDANCE.field("sigma").type
    lists = [pa.array(rows, kind, from_pandas=True) for rows in zip(*curves, strict=True)]
    ids = pa.array([item_id(prompt.id, seed) for prompt, seed in both])
    known = [np.full_like(b.mean, np.nan) if b.ga_eval is None else b.ga_eval for b in batches]
    estimates = pa.array(np.concatenate(known), pa.float64(), from_pandas=True)
    return pa.table([ids, *lists[:4], estimates, *lists[4:]], schema=schema.GUIDANCE)


@dataclass(frozen=True)
class ImportedItem:
    """An imported image: prompt, seed and, where known, cost; without `entry` there is no image."""

    prompt: Prompt
    seed: int
    entry: Entry | None
    nfe: int | None = None

    @property
    def item_id(self) -> str:
        return item_id(self.prompt.id, self.seed)


MISSING = "there is no such image"
"""The failure of an imported image that a table names and that is not there."""


def imported_key(items: Sequence[ImportedItem]) -> str:
    """Hash of the content of a shard of these items; changes when an image has changed."""
    rows = [
        (i.prompt.id, i.prompt.text, i.prompt.category, i.prompt.notes, i.seed, i.nfe)
        + ((i.entry.name, i.entry.stamp, i.entry.url, i.entry.label) if i.entry else ())
        for i in items
    ]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]


def imported_table(
    items: Sequence[ImportedItem], embedded: Mapping[str, bytes | Broken]
) -> pa.Table:
    """A shard of imported images: the address of each, or by name the bytes that have none."""
    rows = []
    for item in items:
        entry, image, failed = item.entry, None, None
        data = embedded.get(entry.name) if entry else Broken(MISSING)
        if isinstance(data, Broken):
            failed = data.reason
        elif entry:
            image = {"bytes": data, "path": entry.url or entry.name}
        rows.append(
            {
                "item_id": item.item_id,
                "prompt_id": item.prompt.id,
                "prompt": item.prompt.text,
                "category": item.prompt.category,
                "notes": item.prompt.notes_json,
                "seed": item.seed,
                "class": entry.label if entry else None,
                "image": image,
                "failed": failed,
                "nfe": item.nfe,
                "stamp": entry.stamp if entry and entry.url else None,
            }
        )
    return pa.Table.from_pylist(rows, schema=schema.IMPORTED)


def timing_table(
    shard: Shard, batches: Sequence[tuple[int, float]], device: str, threads: int
) -> pa.Table:
    """The one timing row of a shard, of its batches' images and seconds."""
    row = {
        "shard": shard.name,
        "images": len(shard.prompts),
        "seconds": sum(seconds for _, seconds in batches),
        "device": device,
        "threads": threads,
        "batch_images": [images for images, _ in batches],
        "batch_seconds": [seconds for _, seconds in batches],
    }
    return pa.Table.from_pylist([row], schema=schema.TIMING)
