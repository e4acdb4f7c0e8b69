"""One network at several LoRA scales: merged weights, kept side by side and swapped by pointer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from harness.core.libraries import align
from harness.models.pipelines.loading_options import load_lora

_ADAPTER = "harness"


class LoraScales:
    """The network of a pipeline with a LoRA merged at each of several scales.

    A scale s means W + s (alpha / rank) B A. The text encoders are left as they are, as W2SD does.
    """

    def __init__(self, pipeline: Any, network: Any, file: str, scales: Mapping[str, float]) -> None:
        load_lora(pipeline, network, file, _ADAPTER)
        align(network)
        touched = {
            key.split(".lora_")[0] for key, _ in network.named_parameters() if ".lora_" in key
        }
        merged = {layer: network.get_submodule(f"{layer}.base_layer").weight for layer in touched}
        plain = {layer: weight.detach().clone() for layer, weight in merged.items()}
        self._sets: dict[str | None, dict[str, torch.Tensor]] = {None: plain}
        for name, scale in scales.items():
            network.set_adapters(_ADAPTER, weights=scale)
            network.fuse_lora()
            self._sets[name] = {key: weight.detach().clone() for key, weight in merged.items()}
            network.unfuse_lora()
            for layer, weight in merged.items():
                weight.data.copy_(plain[layer])  # unfusing leaves rounding behind
        pipeline.unload_lora_weights()
        self._weights = {layer: network.get_submodule(layer).weight for layer in touched}
        self._used: str | None = None

    def use(self, name: str | None) -> None:
        """Switch the network to the weights of a scale; None: without the LoRA."""
        if name != self._used:
            for layer, weight in self._weights.items():
                weight.data = self._sets[name][layer]
            self._used = name
