"""Shards of scores and features, and what tells whether a stored one is still valid."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from harness.store import files, schema
from harness.store.run import Run


@dataclass(frozen=True)
class ImageRow:
    """One row of an image shard. `png` is None where there is no picture; `failed` says why."""

    item_id: str
    prompt_id: str
    prompt: str
    category: str
    notes: dict[str, Any]
    seed: int
    png: bytes | None
    failed: str | None


def image_rows(run: Run, shard: str) -> list[ImageRow]:
    """The rows of `images/<shard>.parquet`, in order."""
    names = ["item_id", "prompt_id", "prompt", "category", "notes", "seed", "image", "failed"]
    return [
        ImageRow(
            item_id=row["item_id"],
            prompt_id=row["prompt_id"] or "",
            prompt=row["prompt"] or "",
            category=row["category"] or "",
            notes=json.loads(row["notes"] or "{}"),
            seed=row["seed"],
            png=(row["image"] or {}).get("bytes"),
            failed=row["failed"],
        )
        for row in run.read("images", shard, names).to_pylist()
    ]


def images_key(run: Run, shard: str) -> str:
    """What an image shard holds: its items key, or its file's hash if it was written elsewhere."""
    if key := run.items_key("images", shard):
        return key
    return hashlib.sha256(files.read_bytes(run.file("images", shard))).hexdigest()[:16]


def metadata(run: Run, kind: str, shard: str) -> dict[str, str]:
    """The key-value metadata of a shard; empty if there is no such file."""
    path = run.file(kind, shard)
    return files.read_metadata(path) if files.exists(path) else {}


def write_scores(
    run: Run,
    metric: str,
    shard: str,
    items: Sequence[str],
    values: Sequence[float | None],
    reasons: Sequence[str | None],
    metadata: dict[str, str],
) -> None:
    """Write `scores/<metric>/<shard>.parquet`: one row an item, in the images' order."""
    columns = [list(items), [metric] * len(items), list(values), list(reasons)]
    table = pa.table(columns, schema=schema.SCORES)
    files.write_table(run.file(f"scores/{metric}", shard), table, metadata)


def write_features(
    run: Run,
    encoder: str,
    shard: str,
    items: Sequence[str],
    features: Sequence[NDArray[np.float32] | None],
    reasons: Sequence[str | None],
    width: int,
    metadata: dict[str, str],
) -> None:
    """Write `features/<encoder>/<shard>.parquet`: one row an item, in the images' order."""
    rows = [None if feature is None else feature.tolist() for feature in features]
    table = pa.table([list(items), rows, list(reasons)], schema=schema.features(width))
    files.write_table(run.file(f"features/{encoder}", shard), table, metadata)


def read_features(
    run: Run, encoder: str, shard: str
) -> tuple[list[str], NDArray[np.float32], NDArray[np.bool_]]:
    """Item ids, features [n, F] of the items that have some, and which [items] have."""
    table = run.read(f"features/{encoder}", shard, ["item_id", "feature"])
    column = table["feature"].combine_chunks()
    width = column.type.list_size
    kept = column.drop_null().flatten().to_numpy().reshape(-1, width)
    return table["item_id"].to_pylist(), kept, np.asarray(column.is_valid())
