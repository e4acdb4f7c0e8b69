"""A network's branches: its outputs for those samples of a batch that need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from harness.core.errors import HarnessError
from harness.models.base import Condition, Network, join, take

Levels = tuple[torch.Tensor, torch.Tensor]
"""Sigma, and the level that the network is told."""


@dataclass(frozen=True)
class Conditioned:
    """A network and what its two branches are conditioned on; `negative` None: it has but one."""

    network: Network
    condition: Condition
    negative: Condition | None = None


def spread(
    one: torch.Tensor, need: torch.Tensor, other: torch.Tensor, need_other: torch.Tensor
) -> torch.Tensor:
    """A branch's outputs for the whole batch; the other branch's where it was not needed."""
    if len(one) == len(need) or not len(other):
        return one
    if not len(one):
        return other
    full = one.new_empty(len(need), *one.shape[1:])
    full[need_other.to(full.device)] = other
    full[need.to(full.device)] = one
    return full


def both(
    own: Conditioned, x: torch.Tensor, levels: Levels, need_u: torch.Tensor, need_c: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Raw outputs of the two branches in one network call, unconditional rows first."""
    rows = torch.cat([need_u.nonzero()[:, 0], need_c.nonzero()[:, 0]]).to(x.device)
    cut = int(need_u.sum())
    parts = []
    if own.negative is not None and cut:
        parts.append(take(own.negative, rows[:cut]))
    if len(rows) > cut:
        parts.append(take(own.condition, rows[cut:]))
    raw = _raw(own.network, x, levels, rows, join(parts))
    return raw[:cut], raw[cut:]


def estimate(one: Conditioned, x: torch.Tensor, levels: Levels, need: torch.Tensor) -> torch.Tensor:
    """D of one network, conditioned, for the samples that need it.

    Two networks may predict different things, so they meet as estimates of x0.
    """
    rows = need.nonzero()[:, 0].to(x.device)
    if not len(rows):
        return x[rows]
    raw = _raw(one.network, x, levels, rows, take(one.condition, rows))
    return denoised(one.network, x, levels[0], need, raw)


def perturbed(
    own: Conditioned, x: torch.Tensor, levels: Levels, need: torch.Tensor, layers: tuple[str, ...]
) -> torch.Tensor:
    """Raw conditional outputs under perturbed attention (hooks/perturbed.py) in `layers`."""
    network: Any = own.network
    if not hasattr(network, "perturbed"):
        raise HarnessError(
            f"{network.name} has no self-attention to perturb: pag_scale needs a diffusers "
            "pipeline, such as a Stable Diffusion"
        )
    rows = need.nonzero()[:, 0].to(x.device)
    return _raw(network.perturbed(layers), x, levels, rows, take(own.condition, rows))


def _raw(
    network: Network, x: torch.Tensor, levels: Levels, rows: torch.Tensor, condition: Condition
) -> torch.Tensor:
    sigma, time = (_rows(level, rows) for level in levels)
    return network.network(x[rows], sigma, time, condition).to(x.dtype)


def denoised(
    network: Network, x: torch.Tensor, sigma: torch.Tensor, need: torch.Tensor, raw: torch.Tensor
) -> torch.Tensor:
    """D of raw outputs of the samples that needed them."""
    rows = need.nonzero()[:, 0].to(x.device)
    return network.denoised(x[rows], _rows(sigma, rows), raw)


def _rows(level: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """A scalar level as it is; a level per sample or pixel, for the chosen rows."""
    return level if level.ndim == 0 else level.to(rows.device)[rows]
