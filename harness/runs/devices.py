"""The device of a process, and how many processes a machine has devices for."""

from __future__ import annotations

import os
import platform

from harness.core.errors import HarnessError

_MOST_ON_CPU = 8
_KINDS = ("cuda", "xpu", "mps", "cpu")


def default_workers(device: str | None) -> int:
    """One process for each GPU, one for a GPU given by number; on a CPU one a core, at most 8."""
    kind = kind_of(device)
    if kind == "cpu":
        return min(len(os.sched_getaffinity(0)), _MOST_ON_CPU)
    return 1 if device and ":" in device else _count(kind)


def kind_of(device: str | None) -> str:
    """The kind of a device as typed; of None, the first of cuda, xpu and mps that is here, or cpu.

    Nothing is initialised, so that a notebook may still start processes.
    """
    if device is None:
        return next(kind for kind in _KINDS if _count(kind))
    kind, colon, index = device.partition(":")
    if kind not in _KINDS or (colon and not index.isdigit()) or (kind == "cpu" and colon):
        raise HarnessError(
            f"unknown device {device!r}: expected {', '.join(_KINDS)}, or one by its number, cuda:1"
        )
    return kind


def pick_device(wanted: str | None, local_rank: int = 0) -> str:
    """The device of this rank: `cpu`, or `cuda:N`, its own unless a number was asked for.

    Raises HarnessError for a device that is not here.
    """
    kind = kind_of(wanted)
    if kind == "cpu":
        return kind
    count, index = _count(kind), (wanted or "").partition(":")[2]
    if int(index or 0) >= count:
        here = f"{count} of them" if count else "none"
        raise HarnessError(f"device {wanted} was asked for, but torch sees {here}")
    return f"{kind}:{index or local_rank % count}"


def device_name(device: str) -> str:
    """What a device is called in records of time."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU"


def _count(kind: str) -> int:
    """How many devices of a kind this machine has."""
    import torch
    from accelerate.utils import is_cuda_available, is_mps_available, is_xpu_available

    if kind == "cuda":
        return torch.cuda.device_count() if is_cuda_available() else 0
    if kind == "xpu":
        return int(torch.xpu.device_count()) if is_xpu_available() else 0
    return int(kind == "cpu" or is_mps_available())
