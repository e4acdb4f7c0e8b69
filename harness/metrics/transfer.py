"""Pictures on their way to a network: prepared by several threads, moved without waiting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

from harness.core.cores import picture_threads

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


def pil_images(images: torch.Tensor) -> list[Image]:
    """Images uint8 [B, 3, H, W] on the CPU as PIL images, for preprocessing that starts there."""
    return [_pil(image) for image in images]


def each_picture(prepare: Callable[[Image], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """What `prepare` makes of each of the images uint8 [B, 3, H, W] on the CPU, stacked.

    Several threads prepare them: Pillow and torch let go of Python's lock. A GPU is busy with the
    batch before meanwhile.
    """
    import torch

    with ThreadPoolExecutor(picture_threads()) as pool:
        return torch.stack(list(pool.map(lambda image: prepare(_pil(image)), images)))


def _pil(image: torch.Tensor) -> Image:
    from PIL import Image

    return Image.fromarray(image.permute(1, 2, 0).numpy())


def to_device(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """A tensor of the CPU on the device; a GPU fetches it from pinned memory, nobody waits."""
    import torch

    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(device, non_blocking=True)


def normalised(pixels: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """(pixels - mean) / std of pixels [B, 3, H, W], by channel."""
    device = str(pixels.device)
    return (pixels - _channels(tuple(mean), device)) / _channels(tuple(std), device)


@lru_cache(maxsize=32)
def _channels(values: tuple[float, ...], device: str) -> torch.Tensor:
    """[3, 1, 1] on the device, copied there once: a copy of pageable memory makes a GPU wait."""
    import torch

    return torch.tensor(values, dtype=torch.float32).to(device)[:, None, None]
