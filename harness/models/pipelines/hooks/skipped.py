"""Networks with some of their transformer blocks left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from harness.core.errors import HarnessError, unknown
from harness.models.pipelines.hooks.altered import Opening


class SkippedBlocks:
    """A Change: the named transformer blocks give what they are given.

    A whole number is an index into the transformer's first list of blocks, as SD3's 24; elsewhere,
    as in a U-Net, a block has its name (`mid_block.attentions.0.transformer_blocks.0`).
    """

    name = "skipped layers"

    def __init__(self, layers: Sequence[int | str]) -> None:
        self.layers = layers

    def of(self, net: torch.nn.Module) -> Opening:
        known = _blocks(net)
        if not known:
            raise HarnessError("slg_layers: this network has no transformer blocks to skip")
        stack = next(iter(known)).rpartition(".")[0]
        counted = [name for name in known if name.rpartition(".")[0] == stack]
        chosen = []
        for layer in self.layers:
            name = layer if isinstance(layer, str) else f"{stack}.{layer}"
            if name not in known and isinstance(layer, int):
                raise HarnessError(
                    f"slg_layers: there is no block {layer}: {stack} has {len(counted)}, from 0 on"
                )
            if name not in known:
                raise unknown("block", name, known, where="slg_layers")
            chosen.append(known[name])
        return lambda x: _skipping(chosen)


def _blocks(net: torch.nn.Module) -> dict[str, tuple[torch.nn.Module, Callable[..., Any]]]:
    """The transformer blocks that diffusers describes, by name, and what each gives if skipped."""
    from diffusers.hooks._helpers import TransformerBlockRegistry

    found: dict[str, tuple[torch.nn.Module, Callable[..., Any]]] = {}
    for name, module in net.named_modules():
        try:
            about = TransformerBlockRegistry.get(type(module))
        except ValueError:  # no block, or one that is not described
            continue
        found[name] = (module, partial(_as_given, about))
    return found


def _as_given(about: Any, *args: Any, **kwargs: Any) -> Any:
    """A block's results if it leaves its inputs as they are, in the order that it has."""
    hidden = about._get_parameter_from_args_kwargs("hidden_states", args, kwargs)
    if about.return_encoder_hidden_states_index is None:
        return hidden
    text = about._get_parameter_from_args_kwargs("encoder_hidden_states", args, kwargs)
    results = {
        about.return_hidden_states_index: hidden,
        about.return_encoder_hidden_states_index: text,
    }
    return tuple(results[place] for place in sorted(results))


@contextmanager
def _skipping(chosen: list[tuple[torch.nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    before = [module.__dict__.get("forward") for module, _ in chosen]
    try:
        for module, given in chosen:
            module.forward = given
        yield
    finally:
        for (module, _), forward in zip(chosen, before, strict=True):
            if forward is None:
                del module.forward
            else:
                module.forward = forward
