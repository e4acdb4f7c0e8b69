"""Networks under perturbed attention: self-attention that is the identity in some layers."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import Any

import torch

from harness.core.errors import HarnessError
from harness.models.base import Condition, Network


class Perturbed:
    """A diffusers network whose self-attention maps are the identity in the named layers.

    Ahn et al. 2024, arXiv:2403.17377: each position attends to itself alone, so its
    value goes straight to the output projection. Between calls the layers are unchanged.
    """

    def __init__(self, network: Network, net: torch.nn.Module, layers: tuple[str, ...]) -> None:
        self.name, self.denoised = f"{network.name} (perturbed attention)", network.denoised
        self._network, self._attentions = network, self_attentions(net, layers)

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        with ExitStack() as stack:
            for attention in self._attentions:
                stack.callback(attention.register_forward_hook(_identity, with_kwargs=True).remove)
            return self._network.network(x, sigma, time, condition)


def _identity(
    attention: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: torch.Tensor
) -> torch.Tensor:
    hidden = args[0] if args else kwargs["hidden_states"]
    project, dropout = attention.to_out
    return dropout(project(attention.to_v(hidden)))


def self_attentions(
    net: torch.nn.Module, layers: tuple[str, ...], setting: str = "pag_layers"
) -> list[torch.nn.Module]:
    """The self-attention modules below the named layers: `mid`, `up_blocks.1`, ...

    Raises HarnessError, which names the `setting`, for a layer without self-attention; it lists the
    layers that have some.
    """
    every = {name: m for name, m in net.named_modules() if name.split(".")[-1] == "attn1"}
    chosen: dict[str, torch.nn.Module] = {}
    for layer in layers:
        named = re.compile(rf"(^|\.){re.escape(layer)}(\.|_|$)")
        below = {name: module for name, module in every.items() if named.search(name)}
        if not below:
            blocks = sorted({re.sub(r"\.(attentions|attn1).*", "", name) for name in every})
            raise HarnessError(
                f"{setting}: the network has no self-attention in {layer!r}; it has some in "
                f"{', '.join(blocks) or 'no layer'}"
            )
        chosen |= below
    return list(chosen.values())
