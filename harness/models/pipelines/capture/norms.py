"""A guided output at the conditional output's norm, as some pipelines have it."""

from __future__ import annotations

import torch


def at_norm_of(guided: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """`guided` [B, ..., D] rescaled to the norm of `c` along the last axis."""
    return guided * (c.norm(dim=-1, keepdim=True) / guided.norm(dim=-1, keepdim=True))
