"""The precision that an autoencoder of diffusers decodes in."""

from __future__ import annotations

from typing import Any

import torch

from harness.core.libraries import quiet

_READ = ("post_quant_conv", "decoder")
"""The parts of diffusers' autoencoders that are given latents."""


def decoder_dtype(vae: Any, network: torch.dtype, asked: torch.dtype | None = None) -> torch.dtype:
    """As asked for, else the network's: float32 in place of float16 where `force_upcast` is set.

    The published autoencoder of SDXL overflows in float16.
    """
    if asked is not None:
        return asked
    upcast = network == torch.float16 and getattr(vae.config, "force_upcast", False)
    return torch.float32 if upcast else network


def decode_in(vae: Any, dtype: torch.dtype) -> None:
    """Convert an autoencoder, unless it has this precision.

    From then on it decodes latents of any precision, and code that would convert it for
    `force_upcast`, and back, finds nothing to do.
    """
    if vae.dtype == dtype:
        return
    with quiet():
        vae.to(dtype)
    for name in _READ:
        part = getattr(vae, name, None)
        if part is not None and _as_weights not in part._forward_pre_hooks.values():
            part.register_forward_pre_hook(_as_weights)


def _as_weights(part: torch.nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a part is given, in the precision of its weights."""
    dtype = next(part.parameters()).dtype
    return tuple(
        one.to(dtype) if isinstance(one, torch.Tensor) and one.is_floating_point() else one
        for one in given
    )
