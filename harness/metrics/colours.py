"""Saturation and contrast of pictures, both of which rise with the guidance scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.metrics import ItemMetric, ItemRow, metric

if TYPE_CHECKING:
    import torch


@metric(
    "saturation",
    title="Saturation",
    direction="higher",
    range=(0, 1),
    model="none",
    paper="-",
    licence="-",
    needs_prompts=False,
)
class Saturation(ItemMetric):
    """Mean over pixels of HSV saturation, (max - min) / max of R, G and B; 0 for black, in [0, 1].

    Higher is more, not better: a winning rate says how often a picture is the more colourful one.
    """

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Sequence[float]:
        most, least = images.amax(1).double(), images.amin(1).double()
        return list(((most - least) / most.clamp(min=1)).mean((1, 2)).tolist())


@metric(
    "contrast",
    title="Contrast",
    direction="higher",
    range=(0, 0.5),
    model="none",
    paper="Peli 1990 (RMS contrast)",
    licence="-",
    needs_prompts=False,
)
class Contrast(ItemMetric):
    """RMS contrast: standard deviation over pixels of 0.299 R + 0.587 G + 0.114 B, white being 1.

    Of the values as stored (gamma-encoded), in [0, 0.5]. Higher is more, not better.
    """

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Sequence[float]:
        red, green, blue = (images.double() / 255).unbind(1)
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        return list(luma.std((1, 2), correction=0).tolist())
