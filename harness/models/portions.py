"""How many pictures a decoder is given at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

SHARE = 0.5
"""Of the free memory: the other half is for what is sampled meanwhile, or by another process."""


class DeviceMemory(Protocol):
    """The memory of a device."""

    def free(self) -> int:
        """Bytes that nobody holds."""

    def needed(self, work: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, int]:
        """What `work` gives, and the most bytes that it held on the way."""


class CudaMemory:
    """That of a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def free(self) -> int:
        return int(torch.cuda.mem_get_info(self._device)[0])

    def needed(self, work: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, int]:
        """Counted by PyTorch as memory is asked for, so that nothing waits for the GPU."""
        torch.cuda.reset_peak_memory_stats(self._device)
        held = torch.cuda.memory_allocated(self._device)
        found = work()
        return found, torch.cuda.max_memory_allocated(self._device) - held


class Portions:
    """Decodes a batch in portions that fit into half of the free memory, as equal as can be.

    The first picture of a shape and precision is decoded alone, and shows what one needs; the size
    of a portion is decided at the next, and kept: other portions may round otherwise. Where no
    `memory` is known, as on a CPU, portions are of the `usual` size.
    """

    def __init__(self, memory: DeviceMemory | None) -> None:
        self._memory = memory
        self._one: dict[tuple[object, ...], int] = {}
        self._most: dict[tuple[object, ...], int] = {}

    @classmethod
    def on(cls, device: torch.device) -> Portions:
        return cls(CudaMemory(device) if device.type == "cuda" else None)

    def decoded(
        self,
        decode: Callable[[torch.Tensor], torch.Tensor],
        latents: torch.Tensor,
        usual: int,
    ) -> torch.Tensor:
        """`decode` of all latents [B, ...]."""
        if self._memory is None:
            return torch.cat([decode(part) for part in latents.split(usual)])
        key = (latents.dtype, *latents.shape[1:])
        done, left = [], latents
        if key not in self._one:
            first, self._one[key] = self._memory.needed(lambda: decode(latents[:1]))
            done, left = [first], latents[1:]
        if len(left):
            done += [decode(part) for part in left.split(self._size(key, len(left)))]
        return torch.cat(done)

    def _size(self, key: tuple[object, ...], count: int) -> int:
        """The size of the portions of so many pictures."""
        assert self._memory is not None
        if key not in self._most:
            room = SHARE * self._memory.free()
            self._most[key] = max(1, int(room / max(self._one[key], 1)))
        portions = -(-count // self._most[key])
        return -(-count // portions)
