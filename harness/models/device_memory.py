"""How much memory of a GPU is free, and how much some work needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch

T = TypeVar("T")


class Memory(Protocol):
    """The memory of a device, in bytes."""

    def free(self) -> int:
        """What this process may still ask for."""

    def needed(self, work: Callable[[], T]) -> tuple[T, int]:
        """What `work` gives, and the most that it held on the way beside what was held before."""


class CudaMemory:
    """That of a GPU, as PyTorch counts it when memory is asked for: nothing waits for the GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def free(self) -> int:
        unused = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(
            self._device
        )
        return int(torch.cuda.mem_get_info(self._device)[0]) + unused

    def needed(self, work: Callable[[], T]) -> tuple[T, int]:
        torch.cuda.reset_peak_memory_stats(self._device)
        held = torch.cuda.memory_allocated(self._device)
        found = work()
        return found, torch.cuda.max_memory_allocated(self._device) - held
