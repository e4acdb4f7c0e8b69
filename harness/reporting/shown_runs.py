"""Runs that a report shows pictures of, as far as they are where they were."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from harness.core.errors import HarnessError
from harness.store import files
from harness.store.image_files import read_image
from harness.store.run import Run
from harness.store.survey_table import Row


def run_of_row(row: Row) -> Run | None:
    """The run of a survey's row; None where it is gone, or another one lies there by now."""
    if not files.exists(files.join(row.path, "run.json")):
        return None
    try:
        run = Run.open(row.path)
    except HarnessError:
        return None
    there = (str(run.spec.sampler), run.spec.model)
    return run if there == (row.sampler, row.model) else None


def pictures_of(run: Run, items: Collection[str]) -> dict[str, bytes]:
    """Files of a run's pictures by item, of those that there are."""
    found: dict[str, bytes] = {}
    for shard, held in run.places(items).items():
        images = run.read("images", shard, ["image"])["image"]
        for item, at in held.items():
            if (data := _data(images[at].as_py())) is not None:
                found[item] = data
    return found


def _data(picture: Mapping[str, Any] | None) -> bytes | None:
    if not picture:
        return None
    data = picture["bytes"]
    read = read_image(picture["path"]) if data is None and picture["path"] else data
    return read if isinstance(read, bytes) else None
