"""Builds a network from a checkpoint's class name and arguments, and loads its weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from harness.core.errors import HarnessError, unknown
from harness.core.libraries import aligned
from harness.models.edm import edm2, precond
from harness.models.edm.edm_network import EdmNetwork

CLASSES: dict[str, Callable[..., EdmNetwork]] = {
    "EDMPrecond": precond.EDMPrecond,
    "VPPrecond": precond.VPPrecond,
    "VEPrecond": precond.VEPrecond,
    "iDDPMPrecond": precond.IDDPMPrecond,
    "Precond": edm2.EDM2Precond,
}
"""Networks by the published class name."""

_MOST = {
    "num_blocks": 64,
    "channel_mult": 16,
    "attn_resolutions": 64,
    "model_channels": 1 << 16,
    "img_resolution": 1 << 16,
    "img_channels": 1 << 16,
    "label_dim": 1 << 24,
}
"""The largest counts, or lengths of lists, that a description may ask for."""


def build(class_name: str, init_kwargs: Mapping[str, Any]) -> EdmNetwork:
    """The untrained network that a checkpoint's class name and arguments describe.

    On the device "meta" (see `torch.device`) it takes no memory, and its range of sigma is set.
    Raises HarnessError for an unknown class, an unknown or missing argument and impossible values.
    """
    if class_name not in CLASSES:
        raise unknown("network class", class_name, CLASSES)
    make = CLASSES[class_name]
    parameters = dict(inspect.signature(make).parameters)
    if "model_type" in parameters:
        kind = init_kwargs.get("model_type", parameters["model_type"].default)
        if kind not in precond.UNETS:
            raise unknown("model_type", str(kind), precond.UNETS, where=class_name)
        parameters |= inspect.signature(precond.UNETS[kind]).parameters
    for part in getattr(make, "parts", ()):
        parameters |= inspect.signature(part).parameters
    known = parameters.keys() - {"unet", "in_channels", "out_channels"}
    for name in init_kwargs:
        if name not in known:
            raise unknown("argument", name, known, where=class_name)
    _check_sizes(class_name, init_kwargs)
    try:
        return make(**init_kwargs)
    except (
        TypeError, ValueError, ArithmeticError, RuntimeError, LookupError, AttributeError,
        AssertionError, MemoryError,
    ) as error:  # fmt: skip
        raise HarnessError(f"cannot build {class_name} from its arguments: {error}") from None


def _check_sizes(class_name: str, init_kwargs: Mapping[str, Any]) -> None:
    """Raise HarnessError for more blocks, levels or channels than any network has."""
    for name, most in _MOST.items():
        value = init_kwargs.get(name, 0)
        size = len(value) if isinstance(value, Sequence) else value
        if isinstance(size, int) and size > most:
            raise HarnessError(
                f"cannot build {class_name} from its arguments: {name} is {str(size)[:20]}, at "
                f"most {most:,} are built"
            )


def load_weights(net: nn.Module, state: Mapping[str, torch.Tensor], source: str) -> nn.Module:
    """The network with the weights of `state`, in their own dtypes, without gradients.

    Raises HarnessError as `check_weights` does. `source` is named in messages.
    """
    check_weights(net, {name: value.shape for name, value in state.items()}, source)
    net.load_state_dict({name: aligned(value) for name, value in state.items()}, assign=True)
    return net.eval().requires_grad_(False)


def check_weights(net: nn.Module, shapes: Mapping[str, Sequence[int]], source: str) -> None:
    """Raise HarnessError for weights that are missing, too many or of another shape.

    The message names the first of them, and `source`.
    """
    wanted = net.state_dict()
    for problem, names in (
        ("lacks the weight", wanted.keys() - shapes.keys()),
        ("has an unexpected weight", shapes.keys() - wanted.keys()),
    ):
        if names:
            raise HarnessError(
                f"{source} {problem} {min(names)} ({len(names)} in all): its class_name or "
                "init_kwargs belong to another network"
            )
    for name, value in wanted.items():
        if tuple(value.shape) != tuple(shapes[name]):
            raise HarnessError(
                f"{source}: weight {name} has shape {list(shapes[name])}, its init_kwargs "
                f"ask for {list(value.shape)}"
            )
