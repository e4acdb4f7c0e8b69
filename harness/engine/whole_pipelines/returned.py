"""Reads what a function of a pipeline returns: final latents, or pictures in any usual form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from harness.core.errors import HarnessError

_MARGIN = 0.01  # by which pictures of 0 to 1 may be off


def read_returned(
    result: Any, count: int, latents: Sequence[tuple[int, ...]], size: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Final latents [count, C, h, w] and None, or pictures: as floats, for those that are not
    finite, and as uint8 [count, 3, H, W] on the CPU.

    `latents` are the shapes that a picture's latents may have, the last being the one that is
    given back. A tensor [B, *shape] is latents; a tensor [B, 3, H, W] or an array [B, H, W, 3] of 0
    to 1 (or uint8), or a list of PIL images, is pictures. What has `images` is taken by these.
    Raises HarnessError for anything else, and another number or size.
    """
    held = getattr(result, "images", result)
    held = held[0] if isinstance(held, tuple) else held
    if isinstance(held, list) and held and isinstance(held[0], Image.Image):
        held = [np.asarray(one.convert("RGB")) for one in held]
    try:
        if isinstance(held, list) and held:
            stack = torch.stack if isinstance(held[0], torch.Tensor) else np.stack
            held = stack(held)
    except (RuntimeError, ValueError, TypeError):
        raise HarnessError("returns pictures of several sizes or kinds") from None
    if not isinstance(held, (torch.Tensor, np.ndarray)) or held.ndim < 1:
        raise HarnessError(f"returns {type(result).__name__}: expected latents or pictures")
    if len(held) != count:
        raise HarnessError(f"returns {len(held)} pictures for {count} prompts")
    if isinstance(held, torch.Tensor) and tuple(held.shape[1:]) in latents:
        return held.detach().reshape(count, *latents[-1]), None
    return _pictures(held, latents, size)


def _pictures(
    held: torch.Tensor | np.ndarray[Any, Any],
    latents: Sequence[tuple[int, ...]],
    size: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    shape = list(held.shape[1:])
    form = [3, *size] if isinstance(held, torch.Tensor) else [*size, 3]
    if shape != form:
        raise HarnessError(
            f"returns {shape} a picture: expected latents {list(latents[0])}, or pictures {form}"
        )
    pixels = torch.as_tensor(held).detach().cpu()
    pixels = pixels if isinstance(held, torch.Tensor) else pixels.permute(0, 3, 1, 2).contiguous()
    if pixels.dtype == torch.uint8:
        return pixels.float() / 255, pixels
    if not pixels.is_floating_point():
        raise HarnessError(f"returns pictures of {pixels.dtype}: expected uint8, or floats 0 to 1")
    pixels = pixels.float()
    known = pixels[pixels.isfinite()]
    if known.numel() and not -_MARGIN <= float(known.min()) <= float(known.max()) <= 1 + _MARGIN:
        raise HarnessError(
            f"returns pictures of {float(known.min()):.3g} to {float(known.max()):.3g}: expected 0 "
            "to 1"
        )
    return pixels, (pixels.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8)
