"""Saturation and contrast of pictures, both of which rise with the guidance scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.metrics import ItemMetric, ItemRow, metric, to_device

if TYPE_CHECKING:
    import torch


class _OfPixels(ItemMetric):
    """A metric without a network, computed in float64 where the networks are."""

    device = "cpu"

    def setup(self, device: str) -> None:
        self.device = device


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
class Saturation(_OfPixels):
    """Mean over pixels of HSV saturation, (max - min) / max of R, G and B; 0 for black, in [0, 1].

    Higher is more, not better: a winning rate says how often a picture is the more colourful one.
    """

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> torch.Tensor:
        pixels = to_device(images, self.device)
        most, least = pixels.amax(1).double(), pixels.amin(1).double()
        return ((most - least) / most.clamp(min=1)).mean((1, 2))


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
class Contrast(_OfPixels):
    """RMS contrast: standard deviation over pixels of 0.299 R + 0.587 G + 0.114 B, white being 1.

    Of the values as stored (gamma-encoded), in [0, 0.5]. Higher is more, not better.
    """

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> torch.Tensor:
        red, green, blue = (to_device(images, self.device).double() / 255).unbind(1)
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        return luma.std((1, 2), correction=0)
