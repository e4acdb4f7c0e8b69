"""Stable Diffusion 1.x, 2.x, XL and fine-tunes of them, from a diffusers pipeline, in sigma-space.

The network sees the variance-preserving latent z = x / sqrt(1 + sigma^2) and a timestep; epsilon,
v (Salimans & Ho 2022) and sample prediction become D here and nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from harness.errors import HarnessError
from harness.libraries import quiet
from harness.models.base import Condition, LoadRequest, Network, take
from harness.models.configurations import read_json, read_scheduler
from harness.models.lora import LoraScales
from harness.models.schedule import SchedulerSettings

log = logging.getLogger(__name__)

PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")

_PARTS = ("unet", "vae", "scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
_UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
_DECODED_PIXELS = 2**20


class StableDiffusion:
    """A loaded pipeline behind the model contract (see models/base.py)."""

    classes: int | None = None

    def __init__(self, name: str, pipeline: Any, settings: SchedulerSettings) -> None:
        self.name, self.pipeline = name, pipeline
        self.unet, self.vae = pipeline.unet.eval(), pipeline.vae.eval()
        self.device, self.dtype = self.unet.device, self.unet.dtype
        double = self.dtype == torch.float64
        self.state_dtype = torch.float64 if double else torch.float32
        self.scale = int(pipeline.vae_scale_factor)
        self.prediction, self.schedule = settings.prediction_type, settings.schedule()
        self._lora: LoraScales | None = None
        self._variants_of: Mapping[str, Mapping[str, Any]] = {}
        self._is_xl = self.unet.config.addition_embed_type == "text_time"

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        channels = int(self.unet.config.in_channels)
        return (channels, size[0] // self.scale, size[1] // self.scale)

    def ladder(
        self,
        steps: int,
        spacing: str | None = None,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        rho: float | None = None,
    ) -> torch.Tensor:
        return self.schedule.ladder(steps, spacing, sigma_min, sigma_max, rho)

    def time_of(self, sigma: torch.Tensor) -> torch.Tensor:
        return self.schedule.time_of(sigma)

    def sigma_of(self, time: torch.Tensor) -> torch.Tensor:
        return self.schedule.sigma_of(time)

    def start(self, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """z is unit noise at the first level, as the samplers of Stable Diffusion start."""
        return noise.to(self.device, self.state_dtype) * (1 + sigma**2).sqrt()

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str]) -> Condition:
        self._warn_of_cut(prompts)
        encoded = self.pipeline.encode_prompt(
            prompt=list(prompts),
            device=self.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
        )
        condition = {"text": encoded[0]}
        if self._is_xl:
            condition["pooled"] = encoded[2]
        return condition

    def _warn_of_cut(self, prompts: Sequence[str]) -> None:
        tokenizer = self.pipeline.tokenizer
        for prompt in prompts:
            tokens = len(tokenizer(prompt, truncation=False, verbose=False).input_ids)
            if tokens > tokenizer.model_max_length:
                log.warning(
                    "%s reads %d tokens: the end of this prompt of %d is cut: %.60s ...",
                    self.name,
                    tokenizer.model_max_length,
                    tokens,
                    prompt,
                )

    @torch.inference_mode()
    def encode_negative(self, negatives: Sequence[str | None]) -> Condition | None:
        """None is what the checkpoint does without a negative prompt: zeros where its pipeline says
        so (SDXL), else the encoded empty string. "" is always the encoded empty string."""
        texts = list(dict.fromkeys(text or "" for text in negatives))
        condition = self.encode(texts)
        condition = take(condition, [texts.index(text or "") for text in negatives])
        if getattr(self.pipeline.config, "force_zeros_for_empty_prompt", False):
            for row, text in enumerate(negatives):
                if text is None:
                    for value in condition.values():
                        value[row] = 0
        return condition

    def variants(self, settings: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Network]:
        """The U-Net with one LoRA at several scales."""
        if settings != self._variants_of:
            files = {str(setting["lora"]) for setting in settings.values()}
            if len(files) != 1:
                raise HarnessError(f"{self.name} takes one LoRA at a time, not {len(files)}")
            scales = {name: float(setting["scale"]) for name, setting in settings.items()}
            if self._lora is not None:
                self._lora.use(None)  # another run's scale must not be taken for the checkpoint's
            self._lora = LoraScales(self.pipeline, files.pop(), scales)
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
        z = x / (1 + sigma.to(x.dtype) ** 2).sqrt()
        timestep = self.schedule.time_of(time).flatten().to(x.device).expand(len(x))
        extra: dict[str, Any] = {}
        if self._is_xl:
            height, width = x.shape[-2] * self.scale, x.shape[-1] * self.scale
            ids = x.new_tensor([height, width, 0, 0, height, width]).to(self.dtype)
            pooled = condition["pooled"]
            extra["added_cond_kwargs"] = {
                "text_embeds": pooled,
                "time_ids": ids.expand(len(x), -1),
            }
        return self.unet(
            z.to(self.dtype),
            timestep.to(torch.float32),
            encoder_hidden_states=condition["text"],
            return_dict=False,
            **extra,
        )[0]

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        sigma = sigma.to(x.dtype)
        if self.prediction == "epsilon":
            return x - sigma * output
        if self.prediction == "v_prediction":
            return x / (1 + sigma**2) - sigma / (1 + sigma**2).sqrt() * output
        return output

    def native(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return x / (1 + sigma.to(x.dtype) ** 2).sqrt()

    @torch.inference_mode()
    def decode(self, native: torch.Tensor) -> torch.Tensor:
        vae, config = self.vae, self.vae.config
        dtype = self.dtype
        if dtype == torch.float16 and getattr(config, "force_upcast", False):
            dtype = torch.float32
            vae.to(dtype)
        latents = native.to(dtype) / config.scaling_factor
        if (mean := getattr(config, "latents_mean", None)) is not None:
            std = latents.new_tensor(config.latents_std).reshape(1, -1, 1, 1)
            latents = latents * std + latents.new_tensor(mean).reshape(1, -1, 1, 1)
        latents = latents + (getattr(config, "shift_factor", None) or 0.0)
        # A decoder's activations at full size, not the network, are what fills a GPU.
        at_once = max(1, _DECODED_PIXELS // (latents.shape[-2] * latents.shape[-1] * self.scale**2))
        parts = [vae.decode(part, return_dict=False)[0] for part in latents.split(at_once)]
        pictures = torch.cat(parts)
        return ((pictures.float() / 2 + 0.5).clamp(0, 1) * 255).round().to("cpu", torch.uint8)


class _AtScale:
    """A StableDiffusion's network at one of the scales of its LoRA."""

    def __init__(self, model: StableDiffusion, variant: str) -> None:
        self.name, self._model, self._variant = f"{model.name} ({variant})", model, variant
        self.denoised = model.denoised

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        return self._model.network_at(self._variant, x, sigma, time, condition)


def load_pipeline(
    request: LoadRequest, folder: Path, name: str, variant: str | None = None
) -> StableDiffusion:
    """The model of a pipeline's folder on this machine."""
    from diffusers import DiffusionPipeline

    index = read_json(folder / "model_index.json")
    missing = [part for part in _PARTS if part in index and not (folder / part).is_dir()]
    if missing:
        raise HarnessError(f"{folder} is not complete: it has no {missing[0]}/")
    unused = {part: None for part in _UNUSED if part in index}
    settings = SchedulerSettings.read(read_scheduler(folder), request.overrides)
    with quiet():
        try:
            pipeline = DiffusionPipeline.from_pretrained(
                str(folder),
                dtype=getattr(torch, request.dtype),
                local_files_only=True,
                variant=variant,
                **unused,
            )
        except (OSError, ValueError) as error:
            line = str(error).strip().splitlines()[0]
            raise HarnessError(f"cannot load {folder}: {line}") from None
        pipeline.set_progress_bar_config(disable=True)
        pipeline = pipeline.to(request.device)
    return StableDiffusion(name, pipeline, settings)
