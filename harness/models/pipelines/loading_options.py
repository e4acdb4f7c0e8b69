"""How a pipeline is loaded: a LoRA merged into its network, quantised, and where its parts lie."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from harness.core.errors import HarnessError, first_line
from harness.core.libraries import quiet
from harness.models.base import DECODE_DTYPE, DECODE_DTYPES

PLACEMENT = ("offload", "device_map")
"""Settings that change no picture."""

_CHOICES = {
    "offload": ("model", "group"),
    "device_map": ("balanced",),
    "quantize": ("int8", "nf4"),
    DECODE_DTYPE: DECODE_DTYPES,
}
_BACKENDS = {"int8": "bitsandbytes_8bit", "nf4": "bitsandbytes_4bit"}
_ADAPTER = "model"


@dataclass(frozen=True)
class LoadingOptions:
    """`MODEL(lora=FILE, lora_scale=0.8, quantize=nf4, offload=model, device_map=balanced)`.

    `single_file` is a checkpoint in one .safetensors, as model-sharing sites have them, whose
    weights take the place of the folder's.
    `quantize` is the network's weights in 8 bits or in NF4 (bitsandbytes). `offload=model` keeps
    parts in memory but the one that computes, `group` its layers too; `device_map` spreads parts
    over all GPUs. `decode_dtype` is the decoder's precision: float32, float16 or bfloat16.
    """

    lora: str | None = None
    lora_scale: float = 1.0
    quantize: str | None = None
    offload: str | None = None
    device_map: str | None = None
    single_file: str | None = None
    decode_dtype: str | None = None

    @classmethod
    def split(cls, overrides: Mapping[str, Any]) -> tuple[LoadingOptions, dict[str, Any]]:
        """These options out of a user's settings, and the rest; HarnessError for invalid ones."""
        own = {name: overrides[name] for name in cls.__dataclass_fields__ if name in overrides}
        rest = {name: value for name, value in overrides.items() if name not in own}
        made = cls(**own)
        made.check()
        return made, rest

    def check(self) -> None:
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise HarnessError(f"{name}={value!r} must be {' or '.join(allowed)}")
        scale = self.lora_scale
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not isfinite(scale):
            raise HarnessError(f"lora_scale={scale!r} must be a number")
        if self.lora is None and scale != 1:
            raise HarnessError("lora_scale is of a LoRA: give lora=FILE")
        if self.lora is not None:
            check_lora_file(str(self.lora))
        if self.quantize and importlib.util.find_spec("bitsandbytes") is None:
            raise HarnessError(
                f"quantize={self.quantize} needs bitsandbytes: pip install "
                "'sampler-harness[quantize]'"
            )
        if self.quantize and self.lora:
            raise HarnessError("a LoRA is merged into whole weights: leave out quantize")
        if self.single_file is not None:
            self._check_single_file(Path(str(self.single_file)))
        if self.offload and self.device_map:
            raise HarnessError("offload and device_map contradict each other")

    def _check_single_file(self, file: Path) -> None:
        if not file.is_file() or file.suffix != ".safetensors":
            raise HarnessError(f"single_file={file} must be a .safetensors file that is there")
        if self.quantize or self.device_map:
            name = "quantize" if self.quantize else "device_map"
            raise HarnessError(f"diffusers reads a single file whole: leave out {name}")

    def check_device(self, device: str) -> None:
        """Raise HarnessError for a placement that needs a GPU where there is none."""
        given = self.offload or self.device_map
        if given and torch.device(device).type == "cpu":
            name = "offload" if self.offload else "device_map"
            raise HarnessError(f"{name}={given} is for a GPU, but the device is cpu: leave it out")

    def reading(self, part: str) -> dict[str, Any]:
        """Arguments of `from_pretrained`; `part` is the network's name."""
        asked: dict[str, Any] = {"device_map": self.device_map} if self.device_map else {}
        if self.quantize:
            from diffusers import PipelineQuantizationConfig

            bits = {"load_in_8bit": True} if self.quantize == "int8" else {"load_in_4bit": True}
            kind = {"bnb_4bit_quant_type": "nf4"} if self.quantize == "nf4" else {}
            asked["quantization_config"] = PipelineQuantizationConfig(
                quant_backend=_BACKENDS[self.quantize],
                quant_kwargs={**bits, **kind},
                components_to_quantize=[part],
            )
        return asked

    def place(self, pipeline: Any, device: str) -> None:
        """Put a loaded pipeline where it computes."""
        if self.offload == "model":
            pipeline.enable_model_cpu_offload(device=device)
        elif self.offload == "group":
            pipeline.enable_group_offload(torch.device(device), offload_type="leaf_level")
        elif self.device_map is None:
            pipeline.to(device)

    def merge(self, pipeline: Any, network: torch.nn.Module) -> None:
        """Merge the LoRA into the pipeline's weights: W + scale (alpha / rank) B A."""
        if self.lora is None:
            return
        load_lora(pipeline, network, str(self.lora), _ADAPTER)
        pipeline.set_adapters([_ADAPTER], [float(self.lora_scale)])
        pipeline.fuse_lora(adapter_names=[_ADAPTER], components=_with_lora(pipeline))
        pipeline.unload_lora_weights()


def _with_lora(pipeline: Any) -> list[str]:
    return [
        name
        for name, part in pipeline.components.items()
        if isinstance(part, torch.nn.Module) and _holds_lora(part)
    ]


def _holds_lora(network: torch.nn.Module) -> bool:
    return any(".lora_" in key for key, _ in network.named_parameters())


def check_lora_file(file: str) -> None:
    """Raise HarnessError unless a LoRA can be read from `file`, as far as it shows by itself."""
    if importlib.util.find_spec("peft") is None:
        raise HarnessError("a LoRA needs peft: pip install 'sampler-harness[lora]'")
    if not Path(file).is_file():
        raise HarnessError(f"there is no LoRA file {file}")
    if Path(file).suffix != ".safetensors":
        raise HarnessError(f"{file}: a LoRA must be a .safetensors file")


def load_lora(pipeline: Any, network: torch.nn.Module, file: str, adapter: str) -> None:
    """Load a LoRA into a pipeline under a name; HarnessError where it is of another model."""
    check_lora_file(file)
    if not hasattr(pipeline, "load_lora_weights"):
        raise HarnessError(f"{type(pipeline).__name__} takes no LoRA")
    try:
        with quiet():
            pipeline.load_lora_weights(file, adapter_name=adapter)
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        raise HarnessError(f"cannot load the LoRA {file}: {first_line(error)}") from None
    if not _holds_lora(network):
        raise HarnessError(
            f"the LoRA {file} is of another model: it changes nothing of this one's "
            f"{type(network).__name__}"
        )
