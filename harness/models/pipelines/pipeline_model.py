"""The base class of diffusers pipelines that are adapted to the model contract."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import torch

from harness.core.errors import HarnessError
from harness.models.base import Condition, Ladders, Network, take
from harness.models.decoder_dtype import decode_in, decoder_dtype
from harness.models.pipelines.hooks.altered import Altered, Change
from harness.models.pipelines.hooks.perturbed import Perturbed
from harness.models.pipelines.lora import LoraScales
from harness.models.portions import Portions

log = logging.getLogger(__name__)

_DECODED_PIXELS = 2**20


@cache
def _warn_once(text: str) -> None:
    log.warning("%s", text)


class Schedule(Ladders, Protocol):
    """A family's noise schedule: its times, its state's scaling, and its network's prediction."""

    double: bool  # whether its states need float64

    def time_of(self, sigma: torch.Tensor) -> torch.Tensor:
        """The network's time of levels sigma, float64."""

    def sigma_of(self, time: torch.Tensor) -> torch.Tensor:
        """The level of the network's times, float64."""

    def native(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The state in the family's own scaling, which is its network's input."""

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """The estimate D of x0 from a network's output."""


class PipelineModel:
    """A loaded pipeline as a Model (see models/base.py).

    A family gives `part`, the name of its network in the pipeline, `encode` and `evaluate`.
    """

    part: str
    classes: int | None = None
    distilled: float | None = None
    """The guidance scale that the network takes as an input, if it does: see distilled.py."""
    decode_dtype: torch.dtype | None = None
    """The decoder's precision; None is as the checkpoint's `force_upcast` says."""

    def __init__(self, name: str, pipeline: Any, schedule: Schedule) -> None:
        self.name, self.pipeline, self.schedule = name, pipeline, schedule
        self.ladder, self.time_of, self.sigma_of = (
            schedule.ladder, schedule.time_of, schedule.sigma_of,
        )  # fmt: skip
        self.native, self.denoised = schedule.native, schedule.denoised
        self.net: Any = getattr(pipeline, self.part).eval()
        self.vae: Any = getattr(pipeline, "vae", None)
        # where it computes: of an offloaded pipeline, the parameters are elsewhere
        self.device = torch.device(pipeline._execution_device)
        self.dtype = self.net.dtype
        double = schedule.double or self.dtype == torch.float64
        self.state_dtype = torch.float64 if double else torch.float32
        if self.vae is not None:
            self.vae.eval()
        self.scale = int(getattr(pipeline, "vae_scale_factor", 1))
        self._portions = Portions.on(self.device)
        self._lora: LoraScales | None = None
        self._variants_of: Mapping[str, Mapping[str, Any]] = {}

    @property
    def decodes_apart(self) -> bool:
        """Not where the decoder's weights come and go, or lie on several devices."""
        held = next(self.vae.parameters(), None) if self.vae is not None else None
        return held is None or (held.device == self.device and not hasattr(self.vae, "_hf_hook"))

    def encode(self, prompts: Sequence[str]) -> Condition:
        """Conditions of the prompts, one row each."""
        raise NotImplementedError

    def evaluate(
        self, z: torch.Tensor, timestep: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """The network's output [B, C, h, w] at its own state `z` and times [B] (float32), or
        [B, h, w] for models with a level for every pixel."""
        raise NotImplementedError

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        channels = int(self.net.config.in_channels)
        return (channels, size[0] // self.scale, size[1] // self.scale)

    def lent(self) -> Any:
        """A copy of the pipeline for code that is not ours, with the checkpoint's own weights."""
        if self._lora is not None:
            self._lora.use(None)
        pipeline = copy.copy(self.pipeline)
        pipeline.scheduler = copy.deepcopy(pipeline.scheduler)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def as_latents(self, noise: torch.Tensor) -> torch.Tensor:
        """Unit noise [B, *latent_shape] as the pipeline takes it for `latents`."""
        return noise.to(self.device, self.dtype)

    def latents_shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """The shape of a picture's final latents, as the pipeline returns them."""
        return self.latent_shape(size)

    def start(self, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """noise * sqrt(1 + sigma^2), which is unit noise in the family's own scaling."""
        return noise.to(self.device, self.state_dtype) * (1 + sigma**2).sqrt()

    @torch.inference_mode()
    def encode_negative(self, negatives: Sequence[str | None]) -> Condition | None:
        """Conditions of negative prompts. None is the checkpoint's own default: zeros where its
        pipeline says so (SDXL), else the encoded empty string; "" is always the latter."""
        texts = list(dict.fromkeys(text or "" for text in negatives))
        condition = take(self.encode(texts), [texts.index(text or "") for text in negatives])
        if getattr(self.pipeline.config, "force_zeros_for_empty_prompt", False):
            for row, text in enumerate(negatives):
                if text is None:
                    for value in condition.values():
                        value[row] = 0
        return condition

    @property
    def window(self) -> tuple[Any, int]:
        """The tokenizer that tells how long a prompt is, and how many tokens of it are read."""
        return self.pipeline.tokenizer, int(self.pipeline.tokenizer.model_max_length)

    def warn_of_cut(self, prompts: Iterable[str]) -> None:
        """Warn once of all prompts that are longer than what the text encoder reads."""
        tokenizer, limit = self.window
        texts = list(dict.fromkeys(prompts))
        lengths = [len(tokenizer(t, truncation=False, verbose=False).input_ids) for t in texts]
        if count := sum(length > limit for length in lengths):
            longest = max(range(len(texts)), key=lengths.__getitem__)
            _warn_once(
                f"{self.name} reads {limit} tokens of a prompt: the ends of {count} of "
                f"{len(texts):,} prompts are cut; the longest has {lengths[longest]}: "
                f"{texts[longest][:60]} ..."
            )

    def variants(self, settings: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Network]:
        """The network with one LoRA at several scales."""
        if settings != self._variants_of:
            files = {str(setting["lora"]) for setting in settings.values()}
            if len(files) != 1:
                raise HarnessError(f"{self.name} takes one LoRA at a time, not {len(files)}")
            scales = {name: float(setting["scale"]) for name, setting in settings.items()}
            if self._lora is not None:
                self._lora.use(None)  # another run's scale must not be taken for the checkpoint's
            self._lora = LoraScales(self.pipeline, self.net, files.pop(), scales)
            self._variants_of = settings
        return {name: _AtScale(self, name) for name in settings}

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        return self.network_at(None, x, sigma, time, condition)

    def network_at(
        self,
        variant: str | None,
        x: torch.Tensor,
        sigma: torch.Tensor,
        time: torch.Tensor,
        condition: Condition,
    ) -> torch.Tensor:
        """`network` with the weights of a variant; None is the checkpoint's own."""
        if self._lora is not None:
            self._lora.use(variant)
        z = self.schedule.native(x, sigma).to(self.dtype)
        timestep = self.schedule.time_of(time).to(x.device, torch.float32, non_blocking=True)
        is_map = timestep.numel() > len(x)
        timestep = timestep[:, 0] if is_map else timestep.flatten().expand(len(x))
        return self.evaluate(z, timestep, condition)

    def perturbed(self, layers: tuple[str, ...]) -> Network:
        """The network with identity self-attention in the named layers."""
        return Perturbed(self, self.net, layers)

    def altered(self, change: Change) -> Network:
        """The network under a change of its layers, see hooks/altered.py."""
        return Altered(self, self.net, change)

    @torch.inference_mode()
    def decode(self, native: torch.Tensor) -> torch.Tensor:
        vae, config = self.vae, self.vae.config
        dtype = decoder_dtype(vae, self.dtype, self.decode_dtype)
        decode_in(vae, dtype)
        latents = native.to(dtype) / config.scaling_factor
        if (mean := getattr(config, "latents_mean", None)) is not None:
            std, mean = (
                torch.tensor(v, dtype=dtype).reshape(1, -1, 1, 1).to(self.device, non_blocking=True)
                for v in (config.latents_std, mean)
            )
            latents = latents * std + mean
        latents = latents + (getattr(config, "shift_factor", None) or 0.0)
        # The decoder's activations at full size need more memory than the network.
        usual = max(1, _DECODED_PIXELS // (latents.shape[-2] * latents.shape[-1] * self.scale**2))
        whole = self._portions.decoded(
            lambda part: vae.decode(part, return_dict=False)[0], latents, usual
        )
        pixels = (whole.float() / 2 + 0.5).clamp(0, 1)
        return (pixels * 255).round().to(torch.uint8)


class _AtScale:
    """A model's network at one of the scales of its LoRA."""

    def __init__(self, model: PipelineModel, variant: str) -> None:
        self.name, self._model, self._variant = f"{model.name} ({variant})", model, variant
        self.denoised = model.denoised

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        return self._model.network_at(self._variant, x, sigma, time, condition)

    def perturbed(self, layers: tuple[str, ...]) -> Network:
        return Perturbed(self, self._model.net, layers)

    def altered(self, change: Change) -> Network:
        return Altered(self, self._model.net, change)
