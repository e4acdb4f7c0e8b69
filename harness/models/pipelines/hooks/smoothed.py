"""Networks whose self-attention is smoothed: the queries of some layers are blurred."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import ceil, sqrt
from typing import Any

import torch
from torch.nn import functional

from harness.core.errors import HarnessError
from harness.models.pipelines.hooks.altered import Opening
from harness.models.pipelines.hooks.perturbed import self_attentions


class SmoothedQueries:
    """A Change: Gaussian blur of the queries over the picture, infinite (their mean) if `blur` is
    None.

    Hong 2024, arXiv:2408.00760. `blur` is in positions of the attention's own map.
    """

    name = "smoothed attention"

    def __init__(self, layers: tuple[str, ...], blur: float | None) -> None:
        self.layers, self.blur = layers, blur

    def of(self, net: torch.nn.Module) -> Opening:
        attentions = self_attentions(net, self.layers, "seg_layers")
        return lambda x: self._smoothing(attentions, x.shape[-2] / x.shape[-1])

    @contextmanager
    def _smoothing(self, attentions: list[Any], aspect: float) -> Iterator[None]:
        def smooth(to_q: Any, args: Any, query: torch.Tensor) -> torch.Tensor:
            return blurred(query, aspect, self.blur)

        with ExitStack() as stack:
            for attention in attentions:
                stack.callback(attention.to_q.register_forward_hook(smooth).remove)
            yield


def blurred(query: torch.Tensor, aspect: float, blur: float | None) -> torch.Tensor:
    """Queries [B, h w, C] of a picture whose sides are as `aspect` = h/w, blurred over h and w.

    The kernel has ceil(6 blur) places or one more, an odd number, and no more than the picture
    allows; edges are mirrored.
    """
    if blur is None:
        return query.mean(1, keepdim=True).expand_as(query)
    batch, count, channels = query.shape
    height = round(sqrt(count * aspect))
    width = count // max(height, 1)
    if height * width != count:
        raise HarnessError(f"seg_blur: {count} queries are no picture with sides as {aspect:g}")
    maps = query.transpose(1, 2).reshape(batch * channels, 1, height, width)
    for axis in (2, 3):
        maps = _blurred_along(maps, axis, blur)
    return maps.reshape(batch, channels, count).transpose(1, 2)


def _blurred_along(maps: torch.Tensor, axis: int, blur: float) -> torch.Tensor:
    half = min(ceil(6 * blur) // 2, maps.shape[axis] - 1)
    places = torch.arange(-half, half + 1, dtype=torch.float64)
    weights = (-((places / blur) ** 2) / 2).exp()
    shape = (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)
    kernel = (weights / weights.sum()).reshape(shape).to(maps.dtype)
    pad = (0, 0, half, half) if axis == 2 else (half, half, 0, 0)
    padded = functional.pad(maps, pad, mode="reflect")
    return functional.conv2d(padded, kernel.to(maps.device, non_blocking=True))
