"""The layout of a run's shards, as its record says."""

from __future__ import annotations

from typing import Any

from harness.core.layout import Layout
from harness.core.run_spec import RunSpec

SHARDS = "shards"
"""In a run's record: its layout; absent of runs of versions whose shards were of one size."""

_IMPORTED = 128
"""Imported images in a shard at least: their files are not in it, mostly."""


def new_layout(spec: RunSpec) -> Layout:
    """That of a run that is begun now."""
    if spec.size is None:
        return Layout(_IMPORTED, 16 * _IMPORTED)
    return Layout.for_pictures(*spec.size)


def layout_of(record: dict[str, Any]) -> Layout:
    """That of a run that exists."""
    if SHARDS in record:
        return Layout(**record[SHARDS])
    return Layout(_IMPORTED, _IMPORTED) if record["spec"]["size"] is None else Layout()
