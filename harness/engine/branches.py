"""Conditional and unconditional outputs of a network, for the samples of a batch that need them.

Which samples these are is known on the CPU, so that the GPU is never waited for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from harness.models.base import Condition, Network, join, take

Levels = tuple[torch.Tensor, torch.Tensor]
"""Sigma, and the level that the network is conditioned on."""


@dataclass(frozen=True)
class Conditioned:
    """A network with the conditions of its branches; `negative` None: no unconditional branch."""

    network: Network
    condition: Condition
    negative: Condition | None = None

    @cached_property
    def both(self) -> Condition:
        """The conditions of both branches of every sample, the unconditional first."""
        assert self.negative is not None
        return join([self.negative, self.condition])


class Rows:
    """The samples of a batch that need a branch; `need` [B] is a mask on the CPU."""

    def __init__(self, need: torch.Tensor, device: torch.device) -> None:
        self.need, self.count = need, int(need.sum())
        self.all = self.count == len(need)
        self.index: torch.Tensor | None = None
        if not self.all:
            self.index = need.nonzero()[:, 0].to(device, non_blocking=True)

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """These rows of a tensor [B, ...]; a scalar as it is."""
        return tensor if self.index is None or tensor.ndim == 0 else tensor[self.index]

    def conditions(self, condition: Condition) -> Condition:
        if self.index is None:
            return condition
        on_cpu = all(value.device.type == "cpu" for value in condition.values())
        return take(condition, self.need if on_cpu else self.index)


def spread(one: torch.Tensor, rows: Rows, other: torch.Tensor, others: Rows) -> torch.Tensor:
    """A branch's outputs for the whole batch; the other branch's where it was not needed."""
    if rows.index is None or not others.count:
        return one
    if not rows.count:
        return other
    full = one.new_empty(len(rows.need), *one.shape[1:])
    full[slice(None) if others.index is None else others.index] = other
    full[rows.index] = one
    return full


def both(
    own: Conditioned, x: torch.Tensor, levels: Levels, u: Rows, c: Rows
) -> tuple[torch.Tensor, torch.Tensor]:
    """Raw outputs of the two branches in one network call, unconditional rows first."""
    parts = [rows for rows in (u, c) if rows.count]
    if u.all and c.all:
        condition = own.both
    else:
        condition = join(
            [rows.conditions(own.negative or {} if rows is u else own.condition) for rows in parts]
        )
    found = _raw(own.network, x, levels, parts, condition)
    return found[: u.count], found[u.count :]


def alone(one: Conditioned, x: torch.Tensor, levels: Levels, rows: Rows) -> torch.Tensor:
    """Raw conditional outputs of one network, for the samples that need it."""
    if not rows.count:
        return rows.of(x)
    return _raw(one.network, x, levels, [rows], rows.conditions(one.condition))


def _raw(
    network: Network, x: torch.Tensor, levels: Levels, parts: list[Rows], condition: Condition
) -> torch.Tensor:
    x, sigma, time = (_joined(tensor, parts) for tensor in (x, *levels))
    return network.network(x, sigma, time, condition).to(x.dtype)


def _joined(tensor: torch.Tensor, parts: list[Rows]) -> torch.Tensor:
    """The rows of all parts, one after another; a scalar as it is."""
    if tensor.ndim == 0 or len(parts) == 1:
        return parts[0].of(tensor)
    return torch.cat([rows.of(tensor) for rows in parts])


def denoised(
    network: Network, x: torch.Tensor, sigma: torch.Tensor, rows: Rows, raw: torch.Tensor
) -> torch.Tensor:
    """D of raw outputs of the samples that needed them."""
    return network.denoised(rows.of(x), rows.of(sigma), raw) if rows.count else raw
