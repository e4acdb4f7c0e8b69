"""A timestep for every pixel of a diffusers U-Net, by forward hooks.

Time enters a U-Net in its residual blocks only, as a vector added to every pixel. Inside
`pixel_time` each pixel gets the vector of its own timestep: Hu et al. 2025, Asynchronous Denoising
Diffusion Models, arXiv:2510.04504, section 3.2. The embedding runs once per distinct timestep.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn import functional


@contextmanager
def pixel_time(unet: Any, times: torch.Tensor, count: int = 1000) -> Iterator[None]:
    """While open, the U-Net reads `times` [B, H, W] in place of the timestep it is called with.

    At its coarser levels the upper left pixel of each cell decides. On devices other than the CPU
    all `count` whole timesteps are embedded: finding those that occur would synchronise.
    """
    find = distinct_times if times.device.type == "cpu" else every_time
    distinct, index = find(times, count)
    with ExitStack() as hooks:
        # [U, 1, C] passes the embedding as U rows, and broadcasts to per-sample embeddings.
        for hook in (
            unet.time_proj.register_forward_pre_hook(lambda module, args: (distinct,)),
            unet.time_proj.register_forward_hook(lambda module, args, out: out[:, None]),
        ):
            hooks.callback(hook.remove)
        for block in unet.modules():
            if getattr(block, "time_emb_proj", None) is not None:
                _add_per_pixel(block, index, hooks)
        yield


def distinct_times(times: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The distinct times [U], and each pixel's index [B, H, W] into them."""
    return times.unique(return_inverse=True)


def every_time(times: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All whole times [count], and each pixel's index [B, H, W] into them."""
    return torch.arange(count, dtype=times.dtype, device=times.device), times.round().long()


def _add_per_pixel(block: Any, index: torch.Tensor, hooks: ExitStack) -> None:
    """Add the block's projected embedding before its second norm, where the block adds it too."""
    rows = torch.empty(0)  # [U, B or 1, C], of the current call

    def keep(module: Any, args: Any, out: torch.Tensor) -> torch.Tensor:
        nonlocal rows
        rows = out
        return torch.zeros_like(out[0])

    def add(module: Any, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        (hidden,) = args
        own = torch.arange(len(hidden), device=hidden.device) % rows.shape[1]
        here = functional.interpolate(index[:, None].float(), hidden.shape[-2:])[:, 0].long()
        return (hidden + rows[here, own[:, None, None]].permute(0, 3, 1, 2),)

    hooks.callback(block.time_emb_proj.register_forward_hook(keep).remove)
    hooks.callback(block.norm2.register_forward_pre_hook(add).remove)
