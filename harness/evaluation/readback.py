"""Batches on their way to a GPU, and what it found of one, read when the next is under way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


class Readback:
    """Copies of one batch's results on their way to the host, and the one wait for all of them."""

    def __init__(self) -> None:
        self._copied: Any = None

    @property
    def pending(self) -> bool:
        """Whether something is on its way."""
        return self._copied is not None

    def copy(self, found: Any) -> Any:
        """`found`, or the copy on the host of a device's tensor, which holds it after `wait`."""
        import torch

        if not isinstance(found, torch.Tensor) or found.device.type == "cpu":
            return found
        if found.device.type != "cuda":
            return found.cpu()
        host = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
        host.copy_(found, non_blocking=True)
        self._copied = torch.cuda.Event()
        self._copied.record(torch.cuda.current_stream(found.device))
        return host

    def wait(self) -> None:
        """Return when everything that was copied is there."""
        if self._copied is not None:
            self._copied.synchronize()


def stacked(pictures: Sequence[NDArray[Any]], device: str) -> torch.Tensor:
    """Pictures as one tensor, in memory from which a GPU fetches them by itself."""
    import torch

    shape = (len(pictures), *pictures[0].shape)
    pinned = torch.device(device).type == "cuda"
    images = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
    np.stack(pictures, out=images.numpy())
    return images
