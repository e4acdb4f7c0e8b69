"""Runs that made the very same pictures, whatever their samplers are called."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from harness.store.pictures import Broken, decode
from harness.store.run import Run
from harness.store.scores import ImageRow, image_rows


def same_pictures(a: Run, b: Run, items: Collection[str] | None = None) -> bool:
    """Whether two runs hold the same pixels for every one of `items` (None: of all their own).

    Every picture is read: ask where scores are equal already. Pictures that failed, or cannot be
    read, are not the same.
    """
    one = _hashes(a, items)
    return None not in one.values() and one == _hashes(b, items)


def _hashes(run: Run, items: Collection[str] | None) -> dict[str, str | None]:
    wanted = None if items is None else set(items)
    return {
        row.item_id: _hash(row)
        for shard in run.shards("images")
        for row in image_rows(run, shard)
        if wanted is None or row.item_id in wanted
    }


def _hash(row: ImageRow) -> str | None:
    """Of a picture's pixels; None where there is none."""
    data = row.read()
    pixels = data if isinstance(data, Broken) else decode(data)
    if isinstance(pixels, Broken):
        return None
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
