"""A timestep for every patch of a multimodal transformer (MMDiT), by forward hooks.

AsynDM (Hu et al. 2025, arXiv:2510.04504) has it for U-Nets only: no reference code exists for
transformers, the design is our own. Time enters an MMDiT (Esser et al. 2024, arXiv:2403.03206)
where it shifts, scales and gates tokens, by one vector a sample. Inside `token_time` each image
token gets the vectors of its own timestep; text tokens keep the timestep of the call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

Parts = tuple[torch.Tensor, ...]


@contextmanager
def token_time(transformer: Any, times: torch.Tensor, pooled: torch.Tensor) -> Iterator[None]:
    """While open, an SD3Transformer2DModel's image reads `times` [B, H, W], a time for every pixel
    of the latents, in place of the timestep it is called with.

    The upper left pixel of a patch decides. `pooled` [B, D] is the pooled text that the call gives.
    """
    patch = transformer.config.patch_size
    distinct, place = times[:, ::patch, ::patch].flatten(1).unique(return_inverse=True)
    owner = torch.arange(len(times), device=times.device)[:, None]
    # One row for each time of each sample that occurs: [R, D], and [B, tokens] into the rows.
    pairs, index = (owner * len(distinct) + place).unique(return_inverse=True)
    samples, chosen = pairs // len(distinct), distinct[pairs % len(distinct)]
    embedded = transformer.time_text_embed(chosen, pooled[samples])
    with ExitStack() as hooks:
        for block in transformer.transformer_blocks:
            _modulate_block(block, embedded, index, hooks)
        _modulate_output(transformer.norm_out, embedded, index, hooks)
        yield


def _modulate_block(
    block: Any, embedded: torch.Tensor, index: torch.Tensor, hooks: ExitStack
) -> None:
    """Modulate a block token by token, around its parts; its own modulation becomes the identity.

    The first norm gives shift, scale and gate of attention, then of the feed-forward, then of a
    second attention if there is one.
    """
    parts: Parts = ()  # each [R, D], of the current call

    def after_norm(norm: Any, args: Parts, out: Parts) -> Parts:
        nonlocal parts
        parts = norm.linear(norm.silu(embedded)).chunk(9 if block.use_dual_attention else 6, dim=1)
        normed, none, whole = norm.norm(args[0]), torch.zeros_like(out[1]), torch.ones_like(out[1])
        first = (_modulated(normed, parts[:2], index), whole, none, none, whole)
        if not block.use_dual_attention:
            return first
        return (*first, _modulated(normed, parts[6:8], index), whole)

    def after_attention(attention: Any, args: Parts, out: Parts) -> Parts:
        image, text = out
        return parts[2][index] * image, text

    def before_feed_forward(feed_forward: Any, args: Parts) -> Parts:
        return (_modulated(args[0], parts[3:5], index), *args[1:])

    def after_feed_forward(feed_forward: Any, args: Parts, out: torch.Tensor) -> torch.Tensor:
        return parts[5][index] * out

    def after_second_attention(attention: Any, args: Parts, out: torch.Tensor) -> torch.Tensor:
        return parts[8][index] * out

    hooks.callback(block.norm1.register_forward_hook(after_norm).remove)
    hooks.callback(block.attn.register_forward_hook(after_attention).remove)
    hooks.callback(block.ff.register_forward_pre_hook(before_feed_forward).remove)
    hooks.callback(block.ff.register_forward_hook(after_feed_forward).remove)
    if block.use_dual_attention:
        hooks.callback(block.attn2.register_forward_hook(after_second_attention).remove)


def _modulate_output(
    norm: Any, embedded: torch.Tensor, index: torch.Tensor, hooks: ExitStack
) -> None:
    def after_norm(norm: Any, args: Parts, out: torch.Tensor) -> torch.Tensor:
        scale, shift = norm.linear(norm.silu(embedded)).chunk(2, dim=1)
        return _modulated(norm.norm(args[0]), (shift, scale), index)

    hooks.callback(norm.register_forward_hook(after_norm).remove)


def _modulated(hidden: torch.Tensor, rows: Parts, index: torch.Tensor) -> torch.Tensor:
    """Tokens [B, tokens, D] scaled and shifted by their own rows of shift and scale [R, D]."""
    shift, scale = rows
    return hidden * (1 + scale[index]) + shift[index]
