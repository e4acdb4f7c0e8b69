"""Loading models with diffusers and transformers: quietly, and with aligned weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ALIGNMENT = 64
"""Bytes that addresses of torch's allocations on the CPU are multiples of."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and warnings of diffusers and transformers while open."""
    import diffusers
    import transformers

    loggers = (diffusers.utils.logging, transformers.utils.logging)
    levels = [logger.get_verbosity() for logger in loggers]
    for logger in loggers:
        logger.set_verbosity_error()
        logger.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.set_verbosity(level)


def exact_float32(device: str, *, tf32: bool = False) -> None:
    """Switch TF32 off in this process, if the device is a GPU: float32 rounds as on a CPU.

    PyTorch lets cuDNN round convolutions of float32 to 11 significant bits by default. With `tf32`
    it is switched on, for convolutions and matrix products.
    """
    import torch

    if torch.device(device).type == "cuda":
        torch.backends.cudnn.allow_tf32 = tf32
        torch.set_float32_matmul_precision("high" if tf32 else "highest")


def aligned(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy where its address is not a multiple of `ALIGNMENT` (CPU only).

    Weights in a file that is mapped into memory lie anywhere, and kernels may sum the same numbers
    in another order at another alignment: equal weights give equal bits if all are aligned.
    """
    return tensor.clone() if _misaligned(tensor) else tensor


def align(module: torch.nn.Module) -> None:
    """Move a module's parameters and buffers to `aligned` memory; tied tensors stay tied.

    Called after `to(device)`, it copies nothing that is on a GPU.
    """
    copies: dict[object, torch.Tensor] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        if _misaligned(tensor):
            place = tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
            if place not in copies:
                copies[place] = tensor.detach().clone()
            tensor.data = copies[place]


def _misaligned(tensor: torch.Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.data_ptr() % ALIGNMENT != 0
