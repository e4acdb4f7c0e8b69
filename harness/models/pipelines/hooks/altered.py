"""A diffusers network under a change of its layers, which holds while it is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import torch

from harness.models.base import Condition, Network

Opening = Callable[[torch.Tensor], AbstractContextManager[object]]
"""Changes the layers for one evaluation at a state x [B, C, h, w], until it is closed."""


class Change(Protocol):
    """A change of a network's layers."""

    name: str

    def of(self, net: torch.nn.Module) -> Opening:
        """The change of this network; HarnessError if it has no such layers."""


class Altered:
    """A network under a change; between calls its layers are as ever."""

    def __init__(self, network: Network, net: torch.nn.Module, change: Change) -> None:
        self.name, self.denoised = f"{network.name} ({change.name})", network.denoised
        self._network, self._opening = network, change.of(net)

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        with self._opening(x):
            return self._network.network(x, sigma, time, condition)
