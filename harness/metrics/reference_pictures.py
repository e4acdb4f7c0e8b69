"""Pictures of another run, to which those of the same items are compared."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from harness.core.shards import item_id
from harness.metrics.encoders import ItemRow

if TYPE_CHECKING:
    from harness.store.run import Run
    from harness.store.scores import ImageRow


class ReferencePictures:
    """The pictures of the run in a folder, by item."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._open: tuple[str, dict[str, ImageRow]] = ("", {})

    @cached_property
    def run(self) -> Run:
        """The run; HarnessError where the folder holds none."""
        from harness.store.run import Run

        return Run.open(self.folder)

    def key(self) -> str:
        """Hash of the run's id and images: scores are stale when it changes."""
        from harness.store.scores import images_key

        held = [images_key(self.run, shard) for shard in self.run.shards("images")]
        return hashlib.sha256(json.dumps([self.run.spec.run_id, *held]).encode()).hexdigest()

    def missing(self, row: ItemRow) -> str | None:
        """Why there is no picture of the item; None where there is one."""
        picture = self._picture(row)
        return picture if isinstance(picture, str) else None

    def pixels(self, row: ItemRow) -> np.ndarray:
        """The pixels [3, H, W], float64 of 0 to 255, of an item that has a picture."""
        from harness.store.pictures import decode

        data = self._picture(row)
        assert isinstance(data, bytes)
        return np.asarray(decode(data), dtype=np.float64)

    @cached_property
    def _shard_of(self) -> dict[str, str]:
        return {
            item: shard
            for shard in self.run.shards("images")
            for item in self.run.read("images", shard, ["item_id"])["item_id"].to_pylist()
        }

    def _picture(self, row: ItemRow) -> bytes | str:
        """The bytes of the same item's picture, or why there is none."""
        from harness.store.pictures import Broken
        from harness.store.scores import image_rows

        item = item_id(row.prompt_id, row.seed)
        shard = self._shard_of.get(item)
        if shard is None:
            return "the reference run lacks it"
        if shard != self._open[0]:  # a batch's items lie in one of its shards, or few
            self._open = (shard, {r.item_id: r for r in image_rows(self.run, shard)})
        match = self._open[1][item]
        if match.prompt != row.prompt:
            return "the reference run has another prompt for it"
        data = match.read()
        if isinstance(data, Broken):
            return f"the reference run has no picture of it: {data.reason}"
        return data
