"""The regression head that LAION's aesthetic predictor and ImageReward share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.core.errors import HarnessError
from harness.core.libraries import aligned

if TYPE_CHECKING:
    import torch

_LAYERS = (0, 2, 4, 6, 7)  # dropout lies between
_WIDTHS = (1024, 128, 64, 16, 1)


class LinearHead:
    """Regression head of five linear layers without activations, on a device: [B, width] to [B]."""

    def __init__(
        self, tensors: Mapping[str, torch.Tensor], width: int, source: str, device: str = "cpu"
    ) -> None:
        """`tensors`: `layers.N.weight` and `.bias`, in the published files' numbering.

        Raises HarnessError unless they are there, in the right sizes.
        """
        self.layers = []
        for layer, rows in zip(_LAYERS, _WIDTHS, strict=True):
            weight, bias = (tensors.get(f"layers.{layer}.{kind}") for kind in ("weight", "bias"))
            if weight is None or bias is None or weight.shape != (rows, width):
                raise HarnessError(
                    f"{source} does not hold the head's layers.{layer} of {width} to {rows} "
                    "features: it is another file, or goes with another network"
                )
            self.layers.append([aligned(tensor.float().to(device)) for tensor in (weight, bias)])
            width = rows

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import linear

        for weight, bias in self.layers:
            features = linear(features, weight, bias)
        return features[:, 0]
