"""Cross-attention maps of a diffusers U-Net, by forward hooks.

The maps are computed once more from a layer's inputs, so that they do not depend on how the layer
itself computes attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

_SMALLEST_SIDE = 16


class AttentionMaps:
    """The mean attention to the text over `layers` recorded layers, on a grid of `size`."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size, self.layers = size, 0
        self._total: torch.Tensor | float = 0.0

    def add(self, probabilities: torch.Tensor) -> None:
        """Add one layer's map [B, h w, tokens], the mean over its heads."""
        self._total = probabilities + self._total
        self.layers += 1

    @property
    def mean(self) -> torch.Tensor:
        """[B, tokens, h, w], float32 or wider: the weight of every token at every cell."""
        mean = torch.as_tensor(self._total / self.layers)
        return mean.transpose(1, 2).unflatten(2, self.size)


@contextmanager
def attention_maps(unet: Any, size: tuple[int, int], rows: slice) -> Iterator[AttentionMaps]:
    """While open, record the cross-attention of the chosen batch rows in the first evaluation.

    `size` is the latents' (height, width). The maps are of the coarsest level with cross-attention
    whose shorter side is at least a quarter of the latents' and at least 16 (Hu et al. 2025,
    arXiv:2510.04504, use 16 at 64); where no level is so large, of the finest.
    """
    layers = _cross_attention(unet)
    sizes = {level: _size_at(level, size) for level in layers}
    wanted = max(_SMALLEST_SIDE, min(size) / 4)
    large = [level for level in layers if min(sizes[level]) >= wanted]
    level = max(large) if large else min(layers)

    def weigh(attention: Any, args: tuple[torch.Tensor], kwargs: dict[str, Any]) -> torch.Tensor:
        text = kwargs["encoder_hidden_states"][rows]
        return _probabilities(attention, args[0][rows], text).mean(1)

    with recorded(AttentionMaps(sizes[level]), layers[level], weigh) as maps:
        yield maps


@contextmanager
def recorded(
    maps: AttentionMaps, layers: Sequence[Any], weigh: Callable[..., torch.Tensor]
) -> Iterator[AttentionMaps]:
    """While open, add `weigh(layer, args, kwargs)` of each layer's first call to `maps`.

    Further evaluations, such as those with perturbed attention, are not recorded.
    """

    def record(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if maps.layers < len(layers):
            maps.add(weigh(layer, args, kwargs))

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_pre_hook(record, with_kwargs=True).remove)
        yield maps


def _cross_attention(unet: Any) -> dict[int, list[Any]]:
    """Cross-attention layers by level; level 0 has the latents' own size."""
    deepest = len(unet.down_blocks) - 1
    blocks = [*enumerate(unet.down_blocks), (deepest, unet.mid_block)]
    blocks += [(deepest - i, block) for i, block in enumerate(unet.up_blocks)]
    by_level: dict[int, list[Any]] = {}
    for level, block in blocks:
        for transformer in getattr(block, "attentions", None) or []:
            layers = [part.attn2 for part in getattr(transformer, "transformer_blocks", [])]
            by_level.setdefault(level, []).extend(layers)
    return {level: layers for level, layers in by_level.items() if layers}


def _size_at(level: int, size: tuple[int, int]) -> tuple[int, int]:
    height, width = (-(-side // 2**level) for side in size)
    return (height, width)


def _probabilities(attention: Any, hidden: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """Attention probabilities [B, heads, queries, tokens], float32 or wider."""
    wide = torch.promote_types(hidden.dtype, torch.float32)
    query, key = (
        attention.head_to_batch_dim(part).to(wide)
        for part in (attention.to_q(hidden), attention.to_k(text))
    )
    return attention.get_attention_scores(query, key).unflatten(0, (len(hidden), -1))
