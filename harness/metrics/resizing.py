"""Image resizing as two matrix products, equal to TensorFlow 1's and Pillow's, on any device.

An image [3, H, W] becomes `rows @ image @ columns.T`, with rows [side, H] and columns [side, W].
The matrices are those of a published convention, so that features equal its authors'.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def resize_tensorflow(images: torch.Tensor, side: int) -> torch.Tensor:
    """Bilinear without antialiasing, as TensorFlow 1 does it: pixel i samples at i * H / side.

    `images` float32 [B, 3, H, W]; the range is kept.
    """
    return _apply(images, side, _tensorflow)


def resize_pillow(images: torch.Tensor, side: int) -> torch.Tensor:
    """Pillow's bicubic with antialiasing on float channels, cut to [0, 255], never rounded.

    `images` float32 [B, 3, H, W] in [0, 255]. What clean-fid does, and dgm-eval with
    `--clean_resize`.
    """
    return _apply(images, side, _pillow).clamp(0, 255)


def _apply(
    images: torch.Tensor, side: int, matrix: Callable[[int, int], torch.Tensor]
) -> torch.Tensor:
    device = str(images.device)
    rows, columns = (_on(device, matrix, size, side) for size in images.shape[-2:])
    # columns first, as Pillow: its second pass reads what the first wrote in float32
    return rows @ (images @ columns.T)


@lru_cache(maxsize=32)
def _on(
    device: str, matrix: Callable[[int, int], torch.Tensor], size: int, side: int
) -> torch.Tensor:
    """A matrix on the device, copied there once: a copy of pageable memory makes a GPU wait."""
    return matrix(size, side).to(device)


def _tensorflow(size: int, side: int) -> torch.Tensor:
    """[side, size], from positions in float32, as the original computes them."""
    import torch

    at = torch.arange(side, dtype=torch.float32) * (size / side)
    low = at.long()
    part = at - low
    weights = torch.zeros(side, size)
    each = torch.arange(side)
    weights[each, low] = 1 - part
    weights[each, (low + 1).clamp(max=size - 1)] += part
    return weights


def _pillow(size: int, side: int) -> torch.Tensor:
    """[side, size]: the unit matrix, its columns resized by Pillow."""
    import numpy as np
    import torch
    from PIL import Image

    unit = Image.fromarray(np.eye(size, dtype=np.float32))
    return torch.from_numpy(np.array(unit.resize((size, side), Image.Resampling.BICUBIC)))
