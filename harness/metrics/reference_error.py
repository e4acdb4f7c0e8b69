"""Reference error: distance of a picture to the near-exact ODE solution from the same noise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from harness.core.run_spec import RunSpec
from harness.core.shards import item_id
from harness.metrics import HarnessError, ItemMetric, ItemRow, metric

if TYPE_CHECKING:
    import torch

    from harness.store.run import Run
    from harness.store.scores import ImageRow


@metric(
    "reference_error",
    title="Reference error",
    direction="lower",
    range=(0, 1),
    model="none",
    paper="-",
    licence="-",
    needs_prompts=False,
)
@dataclass
class DistanceToReference(ItemMetric):
    """Root mean square difference to the same item's picture in a reference run, in [0, 1].

    `run` is the reference's folder: the same model and noise with many evaluations, for example
    heun(steps=500), made by `harness generate`. Pictures are compared (8 bits a channel, white is
    1), not latents, which are not stored; so the smallest error that it resolves is about 0.001.
    It measures how exactly a sampler solves the ODE, which stochastic samplers and those that leave
    the ODE on purpose do not try to.
    """

    run: str = ""

    def check(self) -> None:
        if not self.run:
            raise HarnessError(
                "reference_error needs the folder of a reference run: make one with harness "
                "generate 'heun(steps=500)', then reference_error(run=FOLDER)"
            )
        if not self.reference.shards("images"):
            raise HarnessError(f"{self.run} holds no images to refer to: generate them first")

    @cached_property
    def reference(self) -> Run:
        from harness.store.run import Run

        return Run.open(self.run)

    def weights(self) -> str:
        """Hash of the reference run's id and images: stored scores are stale when it changes."""
        from harness.store.scores import images_key

        run = self.reference
        held = [images_key(run, shard) for shard in run.shards("images")]
        return hashlib.sha256(json.dumps([run.spec.run_id, *held]).encode()).hexdigest()

    def refuses(self, spec: RunSpec) -> str | None:
        mine, other = spec.to_dict(), self.reference.spec.to_dict()
        for key in mine:
            if key not in ("sampler", "dtype") and mine[key] != other[key]:
                return f"{self.run} has another {key}: {other[key]!r}, not {mine[key]!r}"
        weights = [call["sampler"]["params"].get("guidance") for call in (mine, other)]
        if None not in weights and weights[0] != weights[1]:
            return f"{self.run} has another guidance: {weights[1]:g}, not {weights[0]:g}"
        return None

    def setup(self, device: str) -> None:
        run = self.reference
        self._shard_of = {
            item: shard
            for shard in run.shards("images")
            for item in run.read("images", shard, ["item_id"])["item_id"].to_pylist()
        }
        self._open: tuple[str, dict[str, ImageRow]] = ("", {})

    def _picture(self, row: ItemRow) -> bytes | str:
        """The bytes of the reference's picture of the same item, or why there is none."""
        from harness.store.pictures import Broken
        from harness.store.scores import image_rows

        item = item_id(row.prompt_id, row.seed)
        shard = self._shard_of.get(item)
        if shard is None:
            return "the reference run lacks it"
        if shard != self._open[0]:  # a batch's items lie in one of its shards, or few
            self._open = (shard, {r.item_id: r for r in image_rows(self.reference, shard)})
        match = self._open[1][item]
        if match.prompt != row.prompt:
            return "the reference run has another prompt for it"
        data = match.read()
        if isinstance(data, Broken):
            return f"the reference run has no picture of it: {data.reason}"
        return data

    def unsuitable(self, row: ItemRow, size: tuple[int, int]) -> str | None:
        picture = self._picture(row)
        return picture if isinstance(picture, str) else None

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Sequence[float]:
        return [
            float(np.sqrt(np.square(image.numpy() - self._pixels(row)).mean()) / 255)
            for image, row in zip(images, rows, strict=True)
        ]

    def _pixels(self, row: ItemRow) -> np.ndarray:
        """The reference's pixels [3, H, W], float64, of an item that has a picture there."""
        from harness.store.pictures import decode

        data = self._picture(row)
        assert isinstance(data, bytes)
        return np.asarray(decode(data), dtype=np.float64)
