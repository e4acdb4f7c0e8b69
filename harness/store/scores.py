"""Shards of scores and features, and whether a stored one is still valid."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from harness.core.errors import HarnessError
from harness.store import files, schema
from harness.store.image_files import current_stamp, read_image
from harness.store.index import Shards
from harness.store.packing import evaluations, packed, unpacked
from harness.store.pictures import Broken, Unread
from harness.store.run import Run
from harness.store.sealing import CONTENT
from harness.store.texts import one_prompt_a_text


@dataclass(frozen=True)
class ImageRow:
    """One row of an image shard: the picture's bytes, or the `url` of its file.

    Where there is no picture, `failed` says why.
    """

    item_id: str
    prompt_id: str
    prompt: str
    category: str
    notes: dict[str, Any]
    seed: int
    embedded: bytes | None
    failed: str | None
    url: str | None = None
    stamp: str | None = None  # of the file, when it was imported

    def read(self) -> bytes | Broken:
        """The bytes of the picture's file, or why there are none."""
        if self.failed is not None:
            return Broken(f"failed: {self.failed}")
        if self.embedded is not None:
            return self.embedded
        if self.url is None:
            return Broken("the row holds no image")
        if self.stamp is not None and current_stamp(self.url) != self.stamp:
            return Unread(f"{self.url} is gone or not what it was: import the images again")
        return read_image(self.url)


def image_rows(run: Run, shard: str) -> list[ImageRow]:
    """The rows of `images/<shard>.parquet`, in order."""
    names = ["item_id", "prompt_id", "prompt", "category", "notes", "seed", "image", "failed"]
    table = run.read("images", shard)
    table = table.select([*names, *(name for name in table.column_names if name == "stamp")])
    return [
        ImageRow(
            item_id=row["item_id"],
            prompt_id=row["prompt_id"] or "",
            prompt=row["prompt"] or "",
            category=row["category"] or "",
            notes=json.loads(row["notes"] or "{}"),
            seed=row["seed"],
            embedded=(row["image"] or {}).get("bytes"),
            failed=row["failed"],
            url=(row["image"] or {}).get("path"),
            stamp=row.get("stamp"),
        )
        for row in table.to_pylist()
    ]


def images_key(run: Run, shard: str) -> str:
    """Identifies an image shard's content: its items key, or its file's hash if it has none."""
    return run.items_key("images", shard) or _file_key(run, shard)


def _file_key(run: Run, shard: str) -> str:
    return hashlib.sha256(files.read_bytes(run.file("images", shard))).hexdigest()[:16]


def metadata(run: Run, kind: str, shard: str) -> dict[str, str]:
    """The key-value metadata of a shard; empty if there is no such file."""
    return run.metadata(kind, shard)


PICTURES = "pictures"
"""In the metadata of scores and features: the content hash of the image shard that they are of."""


def of_held_pictures(run: Run, shard: str, stored: Mapping[str, str]) -> bool:
    """Whether scores or features of this metadata are of the pictures that the run holds now.

    Those of earlier versions, which do not say it, count as such.
    """
    return stored.get(PICTURES) in (None, run.metadata("images", shard).get(CONTENT))


_COLUMNS = ["item_id", "prompt_id", "prompt", "category", "seed", "failed", "nfe", "nfe_by_branch"]


@dataclass(frozen=True)
class Selection:
    """Selected items of a run: their image shards, and a mask of each shard's rows.

    Each file is opened once: `images` holds all columns that a comparison needs, without pictures,
    packed; see packing.py.
    """

    run: Run
    rows: dict[str, NDArray[np.bool_]]
    keys: dict[str, str]  # of the image shards, see `images_key`
    contents: dict[str, str | None]  # hashes of their files
    images: pa.Table  # the items' rows

    def frame(self, columns: list[str]) -> pd.DataFrame:
        """Columns of `images`; prompts as Arrow has them, other texts that repeat as categories."""
        return unpacked(self.images.select(columns))

    def scores(self, metric: str) -> tuple[pd.DataFrame, str]:
        """`value` and `reason` of the items, in the images' order, and the scores' `identity`."""
        read = self._read(f"scores/{metric}", ["value", "reason"])
        identity = self._identity(f"scores/{metric}", read)
        return unpacked(self._rows(read)), identity

    def reasons(self, encoder: str) -> pd.DataFrame:
        """`reason` why an item has no features, in the images' order."""
        reasons = self._rows(self._read(f"features/{encoder}", ["reason"]))
        return reasons.cast(pa.schema([("reason", pa.string())])).to_pandas()

    def features(self, encoder: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Features [n, F] of the items that have some, and which [items] have, in order."""
        parts, has = [], []
        for shard, asked in self.rows.items():
            kept, valid = read_features(self.run, encoder, shard)
            parts.append(kept[asked[valid]])
            has.append(valid[asked])
        return np.concatenate(parts), np.concatenate(has)

    def evaluations(self) -> dict[str, int]:
        """Evaluations by "network/branch", summed over the items that count some."""
        counted = self.images["nfe"].is_valid()
        return evaluations(self.images["nfe_by_branch"].filter(counted))

    def identity(self, kind: str) -> str:
        """Version, parameters and weights that made `scores/<metric>` or `features/<encoder>`.

        Raises HarnessError unless every shard is there, is of the images that the run holds now,
        and was made by the same.
        """
        return self._identity(kind, self._read(kind, []))

    def _read(self, kind: str, columns: list[str]) -> Shards:
        """Whole shards of the items, as far as they exist."""
        there = set(self.run.shards(kind))
        shards = [shard for shard in self.rows if shard in there]
        return self.run.read_all(kind, shards, columns, packed)

    def _rows(self, shards: Shards) -> pa.Table:
        """The items' rows of all shards that hold any."""
        return _kept(shards.table, np.concatenate(list(self.rows.values())))

    def _identity(self, kind: str, shards: Shards) -> str:
        items, made_by = shards.mark("items"), shards.mark("identity")
        pictures = shards.mark(PICTURES)
        identities = {made_by.get(shard) for shard in self.rows}
        outdated = sum(
            made_by.get(shard) is None
            or items[shard] != self.keys[shard]
            or pictures[shard] not in (None, self.contents[shard])
            for shard in self.rows
        )
        results, _, name = kind.partition("/")
        if outdated:
            raise HarnessError(
                f"{self.run.path}: {results} of {name!r} are missing or outdated for {outdated} "
                f"of {len(self.rows)} shards: evaluate it first (harness evaluate)"
            )
        if len(identities) > 1:
            raise HarnessError(
                f"{self.run.path}: {results} of {name!r} were made by {len(identities)} versions, "
                "or weights, of it: evaluate it first (harness evaluate)"
            )
        return str(identities.pop())


def select(run: Run, items: Collection[str] | None) -> Selection:
    """The items that `items` names ("p0/3"), or all of them, each image once.

    One text is one prompt, see texts.py: `prompt_id` is the text's, `item_id` the image's own.
    Raises HarnessError for no items, and for items that the run lacks.
    """
    shards = run.shards("images")
    if not shards:
        raise HarnessError(f"{run.path} holds no images: generate them first")
    if items is not None and not items:
        raise HarnessError(f"no images of {run.path} are asked for: name items, or leave them out")
    columns = [*_COLUMNS, "guidance_scale"] if run.shards("guidance") else _COLUMNS
    held = run.read_all("images", shards, columns, packed)
    if items is None:
        return _selection(run, held, np.ones(len(held.table), bool))
    wanted = pa.array(set(items), pa.large_string())
    column = held.table["item_id"]
    asked = pc.is_in(column, wanted).to_numpy()
    if pc.count_distinct(column.filter(asked)).as_py() < len(wanted):
        absent = sorted(set(items).difference(column.to_pylist()))
        raise HarnessError(
            f"{run.path} lacks {len(absent)} of the {len(wanted)} images asked for "
            f"({absent[0]!r}, ...): generate them first"
        )
    return _selection(run, held, asked)


def _selection(run: Run, held: Shards, asked: NDArray[np.bool_]) -> Selection:
    images, distinct = one_prompt_a_text(run, _kept(held.table, asked))
    asked = asked.copy()
    asked[asked] = distinct
    parts = np.split(asked, np.cumsum(held.counts)[:-1])
    rows = {name: part for name, part in zip(held.names, parts, strict=True) if part.any()}
    items = held.mark("items")
    keys = {shard: items[shard] or _file_key(run, shard) for shard in rows}
    contents = held.mark(CONTENT)
    return Selection(run, rows, keys, contents, images.combine_chunks())


def _kept(table: pa.Table, rows: NDArray[np.bool_]) -> pa.Table:
    return table if rows.all() else table.filter(rows)


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
    _write(run, f"scores/{metric}", shard, table, metadata)


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
    _write(run, f"features/{encoder}", shard, table, metadata)


def _write(run: Run, kind: str, shard: str, table: pa.Table, metadata: dict[str, str]) -> None:
    """Write a shard, with the hash of the pictures that it is of."""
    pictures = run.metadata("images", shard).get(CONTENT)
    of = {} if pictures is None else {PICTURES: pictures}
    run.write(kind, shard, table, metadata.get("items", ""), {**metadata, **of})


def read_features(
    run: Run, encoder: str, shard: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Features [n, F] of the items that have some, and which [items] have, in the images' order."""
    column = run.read(f"features/{encoder}", shard, ["feature"])["feature"].combine_chunks()
    width = column.type.list_size
    kept = column.drop_null().flatten().to_numpy().reshape(-1, width)
    return kept, np.asarray(column.is_valid())
