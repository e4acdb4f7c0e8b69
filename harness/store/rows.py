"""Rows of the tables that generation writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from harness.spec import Shard, item_id
from harness.store import schema


def image_table(
    shard: Shard,
    pngs: Sequence[bytes | None],
    failed: Sequence[str | None],
    evaluations: Sequence[Mapping[tuple[str, str], int]],
    size: tuple[int, int],
    classes: Sequence[int | None],
) -> pa.Table:
    """The shard's images: a PNG or the reason why there is none, and (network, branch) counts.

    `classes` are what a class-conditional model was told; None for every other model.
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
        }
        for prompt, seed, label, png, reason, counts in zip(
            shard.prompts, shard.seeds, classes, pngs, failed, evaluations, strict=True
        )
    ]
    return pa.Table.from_pylist(rows, schema=schema.IMAGES)


def timing_table(shard: Shard, seconds: float, device: str, threads: int) -> pa.Table:
    """The one timing row of a shard."""
    row = {
        "shard": shard.name,
        "images": len(shard.prompts),
        "seconds": seconds,
        "device": device,
        "threads": threads,
    }
    return pa.Table.from_pylist([row], schema=schema.TIMING)
