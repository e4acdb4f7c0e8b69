"""Networks without weights: what an evaluation costs shows in its shapes."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy, deepcopy
from typing import Any, cast

import torch
from torch import nn
from torch.utils import _pytree as tree
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.flop_counter import FlopCounterMode

from harness.models.base import Model


class NeedsWeights(Exception):
    """A network's cost does not show in its shapes."""


def unweighted(model: Model, tell: Callable[[int], object]) -> Model | None:
    """The model with a network that computes nothing: its outputs are zeros, and `tell` is given
    the operations of each call of it.

    The copy has fake tensors of the same device for weights (they choose the same kernels, and need
    no memory). None where the weights are more than numbers: quantised, or moved while they
    compute. Evaluations raise NeedsWeights where the network looks at a value.
    """
    own = getattr(model, "net", None)
    if not isinstance(own, nn.Module) or not _plain(own):
        return None
    other: Any = copy(model)
    other.net, other._lora = _without_weights(own, tell), None  # merged weights cost as much
    return cast(Model, other)


def _plain(net: nn.Module) -> bool:
    moved = any(hasattr(part, "_hf_hook") or _hooked(part) for part in net.modules())
    return not moved and all(type(weight) is nn.Parameter for weight in net.parameters())


def _hooked(part: nn.Module) -> bool:
    """Whether diffusers moves it from device to device."""
    return bool(getattr(getattr(part, "_diffusers_hook", None), "hooks", None))


def _without_weights(own: nn.Module, tell: Callable[[int], object]) -> nn.Module:
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    weights = [*own.parameters(), *own.buffers()]
    net = deepcopy(own, {id(weight): mode.from_tensor(weight.detach()) for weight in weights})
    given = net.forward

    def fake(value: torch.Tensor) -> torch.Tensor:
        return mode.from_tensor(value)

    def real(value: FakeTensor) -> torch.Tensor:
        return torch.zeros(value.shape, dtype=value.dtype, device=value.device)

    def forward(*args: Any, **keywords: Any) -> Any:
        args, keywords = tree.tree_map_only(torch.Tensor, fake, (args, keywords))
        try:
            with _disable_current_modes(), mode, FlopCounterMode(display=False) as counter:
                output = given(*args, **keywords)
        except Exception as error:  # torch and diffusers have many words for it
            raise NeedsWeights(str(error)) from error
        tell(counter.get_total_flops())
        return tree.tree_map_only(FakeTensor, real, output)

    net.forward = forward
    return net
