"""All files of a run's folder, read whole: which are foreign, damaged, missing or left over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from harness.core.errors import HarnessError
from harness.core.layout import Layout
from harness.store import files, leftovers
from harness.store.run import Run
from harness.store.scores import of_held_pictures

Kind = Literal["foreign", "damaged", "missing", "left over"]

MADE = ("images", "timing", "guidance")
"""Kinds of shards that are made together."""


@dataclass(frozen=True)
class Fault:
    """A file of a run that is not as it should be, or not there.

    `kind` and `shard` say which (`images`, `scores/<metric>`); `shard` is None of others.
    """

    what: Kind
    path: str
    why: str
    kind: str = ""
    shard: str | None = None

    def __str__(self) -> str:
        return f"{self.what}: {self.path}: {self.why}"


def kinds_of(run: Run) -> list[str]:
    """The kinds of shards that a run has folders of; images first."""
    parts = [
        f"{results}/{name}"
        for results in ("scores", "features")
        for name in files.list_files(files.join(run.path, results), "")
    ]
    return [*MADE, *parts]


def inspect_run(run: Run) -> tuple[list[Fault], int]:
    """Everything that is wrong with a run's files, and the number of shards that were read."""
    items: dict[str, list[str]] = {}
    faults: list[Fault] = []
    read = 0
    for kind in kinds_of(run):
        names = run.shards(kind)
        read += len(names)
        for name in names:
            faults += _shard_faults(run, kind, name, items)
    return [*faults, *_cost(run), *_missing(run), *_left(run)], read


def _cost(run: Run) -> Iterator[Fault]:
    try:
        run.cost()
    except HarnessError as error:
        path = files.join(run.path, "cost.json")
        whose: Kind = "foreign" if "another run" in str(error) else "damaged"
        yield Fault(whose, path, str(error).removeprefix(f"{path} ").partition(": undo")[0])


def _shard_faults(run: Run, kind: str, name: str, items: dict[str, list[str]]) -> Iterator[Fault]:
    """What is wrong with one shard, if anything; those of good images are added to `items`."""
    path = run.file(kind, name)
    try:
        table = files.read_table(path)
        metadata = files.metadata(table)
        if reason := run.owner.foreign(kind, name, metadata):
            edited = "edited" in reason
            yield Fault("damaged" if edited else "foreign", path, reason, kind, name)
            return
        ids = _ids(table)
    except HarnessError as error:
        reason = str(error).removeprefix(f"{path} is damaged: ").partition(". Remove it")[0]
        yield Fault("damaged", path, reason, kind, name)
        return
    if kind == "images":
        items[name] = ids or []
    elif kind not in MADE:
        yield from _results_faults(run, kind, name, metadata, ids, items)


def _ids(table: pa.Table) -> list[str] | None:
    held = "item_id" in table.column_names
    return table["item_id"].to_pylist() if held else None


def _results_faults(
    run: Run,
    kind: str,
    name: str,
    metadata: dict[str, str],
    ids: list[str] | None,
    items: dict[str, list[str]],
) -> Iterator[Fault]:
    """What is wrong with scores or features, by the images that they are of."""
    path = run.file(kind, name)
    if name not in items:
        return  # its images are missing, or named themselves
    key = run.items_key("images", name)
    if (key and metadata.get("items") != key) or not of_held_pictures(run, name, metadata):
        yield Fault("left over", path, "is of other images than the run holds", kind, name)
    elif ids != items[name]:
        yield Fault("damaged", path, "its rows are not those of the images", kind, name)


def _missing(run: Run) -> Iterator[Fault]:
    """Shards of images that others presuppose, and results that only some images have."""
    held = set(run.shards("images"))
    due = set(held)
    for kind in kinds_of(run):
        due |= set(run.shards(kind))
    if run.imported is None:
        due |= _grid(due, run.layout)
    for name in sorted(due - held):
        yield Fault("missing", run.file("images", name), "there is no such file", "images", name)
    for kind in kinds_of(run):
        if kind not in MADE:
            for name in sorted(held - set(run.shards(kind))):
                yield Fault("missing", run.file(kind, name), "not all images have it", kind, name)


def _grid(names: set[str], layout: Layout) -> set[str]:
    """Names between others: of each seed, all slices up to the last that any seed has."""
    places = [tuple(map(int, name.rsplit("-", 2)[1:])) for name in names]
    last = max((index for _, index in places), default=-1)
    due = set()
    for at in range(last + 1 if last > 0 else 0):
        size = layout.size(layout.first(at))
        due |= {f"part-{layout.block(seed, size).start:05d}-{at:05d}" for seed, _ in places}
    return due


def _left(run: Run) -> Iterator[Fault]:
    """Temporary files of killed writers."""
    for folder, _, _ in os.walk(run.path):
        for path in leftovers.leftovers(folder):
            yield Fault("left over", path, "of a writer that was killed")
