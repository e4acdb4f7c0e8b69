"""Reference error: distance of a picture to the near-exact ODE solution from the same noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from harness.core.run_spec import RunSpec
from harness.metrics import HarnessError, ItemMetric, ItemRow, metric
from harness.metrics.reference_pictures import ReferencePictures

if TYPE_CHECKING:
    import torch

    from harness.store.run import Run


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
    def pictures(self) -> ReferencePictures:
        """The reference's pictures."""
        return ReferencePictures(self.run)

    @property
    def reference(self) -> Run:
        """The reference run."""
        return self.pictures.run

    def weights(self) -> str:
        return self.pictures.key()

    def refuses(self, spec: RunSpec) -> str | None:
        mine, other = spec.to_dict(), self.reference.spec.to_dict()
        for key in mine:
            if key not in ("sampler", "dtype") and mine[key] != other[key]:
                return f"{self.run} has another {key}: {other[key]!r}, not {mine[key]!r}"
        weights = [call["sampler"]["params"].get("guidance") for call in (mine, other)]
        if None not in weights and weights[0] != weights[1]:
            return f"{self.run} has another guidance: {weights[1]:g}, not {weights[0]:g}"
        return None

    def unsuitable(self, row: ItemRow, size: tuple[int, int]) -> str | None:
        return self.pictures.missing(row)

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Sequence[float]:
        return [
            float(np.sqrt(np.square(image.numpy() - self.pictures.pixels(row)).mean()) / 255)
            for image, row in zip(images, rows, strict=True)
        ]
