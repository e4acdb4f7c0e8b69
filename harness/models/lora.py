"""One network at several LoRA scales: merged weights, kept side by side and swapped by pointer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from harness.errors import HarnessError
from harness.libraries import quiet

_ADAPTER = "harness"


class LoraScales:
    """The U-Net of a pipeline with a LoRA merged at each of several scales.

    A scale s means W + s (alpha / rank) B A. The text encoders are left as they are, as W2SD does.
    """

    def __init__(self, pipeline: Any, file: str, scales: Mapping[str, float]) -> None:
        self._unet = pipeline.unet
        plain = {key: value.detach().clone() for key, value in self._weights().items()}
        self._sets: dict[str | None, dict[str, torch.Tensor]] = {}
        _load(pipeline, file)
        touched = self._touched()
        for name, scale in scales.items():
            self._unet.set_adapters(_ADAPTER, weights=scale)
            self._unet.fuse_lora()
            merged = self._weights()
            self._sets[name] = {key: merged[key].detach().clone() for key in touched}
            self._unet.unfuse_lora()
            for key in touched:  # unfusing leaves rounding behind
                self._weights()[key].data.copy_(plain[key])
        pipeline.unload_lora_weights()
        self._sets[None] = {key: plain[key] for key in touched}

    def use(self, name: str | None) -> None:
        """Make the network's weights those of a scale; None: without the LoRA."""
        weights = self._weights()
        for key, value in self._sets[name].items():
            weights[key].data = value

    def _touched(self) -> set[str]:
        """The weights that the LoRA changes."""
        names = [key for key, _ in self._unet.named_parameters() if ".lora_" in key]
        return {f"{key.split('.lora_')[0]}.weight" for key in names}

    def _weights(self) -> dict[str, torch.Tensor]:
        return {
            key.replace(".base_layer", ""): value
            for key, value in self._unet.named_parameters()
            if ".lora_" not in key
        }


def _load(pipeline: Any, file: str) -> None:
    try:
        import peft  # noqa: F401
    except ImportError:
        raise HarnessError("a LoRA needs peft: pip install 'sampler-harness[lora]'") from None
    if not Path(file).is_file():
        raise HarnessError(f"there is no LoRA file {file}")
    if Path(file).suffix != ".safetensors":
        raise HarnessError(f"{file}: a LoRA must be a .safetensors file")
    try:
        with quiet():
            pipeline.load_lora_weights(file, adapter_name=_ADAPTER)
    except (ValueError, RuntimeError, OSError) as error:
        line = str(error).strip().splitlines()[0]
        raise HarnessError(f"cannot load the LoRA {file}: {line}") from None
