"""Attention of image to text tokens in a multimodal transformer, by forward hooks.

No reference code exists for what AsynDM needs of it; the choices are our own. Joint attention
weighs image and text tokens together; here an image token's weights are those among the text's
tokens, renormalised to 1: the softmax over text keys alone. Averaged over heads and all blocks, on
the grid of patches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from harness.models.pipelines.hooks.attention_maps import AttentionMaps, recorded


@contextmanager
def joint_maps(transformer: Any, size: tuple[int, int], rows: slice) -> Iterator[AttentionMaps]:
    """While open, record how an SD3Transformer2DModel's image attends to the text, of the chosen
    batch rows in the first evaluation; `size` is the latents' (height, width)."""
    patch, blocks = transformer.config.patch_size, transformer.transformer_blocks

    def weigh(attention: Any, args: Any, kwargs: dict[str, torch.Tensor]) -> torch.Tensor:
        image, text = kwargs["hidden_states"][rows], kwargs["encoder_hidden_states"][rows]
        # Sample by sample: all at once they are as large as the network's largest tensors.
        return torch.stack(
            [_probabilities(attention, *pair) for pair in zip(image, text, strict=True)]
        )

    grid = AttentionMaps((size[0] // patch, size[1] // patch))
    with recorded(grid, [block.attn for block in blocks], weigh) as maps:
        yield maps


def _probabilities(attention: Any, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """Attention probabilities [image tokens, text tokens], mean over heads; float32 or wider."""
    query = _by_head(attention, attention.to_q(image), attention.norm_q)
    key = _by_head(attention, attention.add_k_proj(text), attention.norm_added_k)
    return (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5).softmax(2).mean(0)


def _by_head(attention: Any, projected: torch.Tensor, norm: Any) -> torch.Tensor:
    """Projected tokens split into heads [heads, tokens, head's width], float32 or wider."""
    parts = projected.unflatten(1, (attention.heads, -1)).transpose(0, 1)
    parts = parts if norm is None else norm(parts)
    return parts.to(torch.promote_types(parts.dtype, torch.float32))
