"""Stable Diffusion 1.x, 2.x, XL and fine-tunes of them, from a diffusers pipeline, in sigma-space.

The network sees the variance-preserving latent z = x / sqrt(1 + sigma^2) and a timestep; epsilon,
v (Salimans & Ho 2022) and sample prediction become D here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from harness.errors import HarnessError, unknown
from harness.models.base import Condition, LoadRequest, Network, take
from harness.models.libraries import quiet
from harness.models.lora import LoraScales
from harness.models.schedule import DiscreteSchedule

PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")

# What Stable Diffusion's own checkpoints say; some fine-tunes' scheduler files leave these out, and
# the defaults of diffusers' classes are another family's.
_FAMILY = {
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "num_train_timesteps": 1000,
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
}
_BETAS = ("beta_start", "beta_end", "beta_schedule")
_DECODED_PIXELS = 2**20


class StableDiffusion:
    """A loaded pipeline behind the model contract (see models/base.py)."""

    branches = frozenset({"cond", "uncond"})

    def __init__(self, name: str, pipeline: Any, overrides: dict[str, Any]) -> None:
        self.name, self.pipeline = name, pipeline
        self.unet, self.vae = pipeline.unet.eval(), pipeline.vae.eval()
        self.device, self.dtype = self.unet.device, self.unet.dtype
        double = self.dtype == torch.float64
        self.state_dtype = torch.float64 if double else torch.float32
        self.scale = int(pipeline.vae_scale_factor)
        config = scheduler_config(dict(pipeline.scheduler.config), overrides)
        self.prediction = config["prediction_type"]
        self.schedule = make_schedule(config)
        self._lora: LoraScales | None = None
        self._variants_of: Mapping[str, Mapping[str, Any]] = {}
        self._is_xl = self.unet.config.addition_embed_type == "text_time"

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        if size[0] % self.scale or size[1] % self.scale:
            raise HarnessError(
                f"size {size[0]}x{size[1]} must be a multiple of {self.scale} for {self.name}"
            )
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

    def start(self, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """z is unit noise at the first level, as the samplers of Stable Diffusion start."""
        return noise.to(self.device, self.state_dtype) * (1 + sigma**2).sqrt()

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str]) -> Condition:
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
        latents = native.to(dtype) / config.scaling_factor + (
            getattr(config, "shift_factor", None) or 0.0
        )
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


def scheduler_config(found: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint's scheduler settings that matter here, with the user's overrides on top."""
    known = [*_BETAS, *_FAMILY]
    for name in overrides:
        if name not in known:
            raise unknown("parameter", name, known, where="a Stable Diffusion model")
    missing = [key for key in _BETAS if key not in found and key not in overrides]
    if missing and not (overrides.get("trained_betas") or found.get("trained_betas")):
        raise HarnessError(
            f"the checkpoint's scheduler_config.json has no {missing[0]}: it is not of a Stable "
            f"Diffusion; give it as MODEL({missing[0]}=...)"
        )
    config = _FAMILY | {key: found[key] for key in known if key in found} | overrides
    allowed = ("epsilon", "v_prediction", "sample")
    if config["prediction_type"] not in allowed:
        raise unknown("prediction_type", str(config["prediction_type"]), allowed)
    return config


def make_schedule(config: dict[str, Any]) -> DiscreteSchedule:
    """The noise schedule of a scheduler configuration; the table is diffusers' own, in float32."""
    from diffusers import DDIMScheduler

    keys = (*_BETAS, "num_train_timesteps", "trained_betas", "rescale_betas_zero_snr")
    table = DDIMScheduler(**{key: config[key] for key in keys if key in config}).alphas_cumprod
    return DiscreteSchedule(
        table,
        spacing=config["timestep_spacing"],
        steps_offset=config["steps_offset"],
        set_alpha_to_one=config["set_alpha_to_one"],
    )


def load_pipeline(request: LoadRequest, source: str, label: str, **options: Any) -> StableDiffusion:
    """The model of a local pipeline folder or of a hub id whose files are on this machine."""
    from diffusers import DiffusionPipeline

    dtype = getattr(torch, request.dtype)
    with quiet():
        try:
            pipeline = DiffusionPipeline.from_pretrained(
                source, dtype=dtype, local_files_only=True, **options
            )
        except (OSError, ValueError) as error:
            line = str(error).strip().splitlines()[0]
            raise HarnessError(f"cannot load {source}: {line}") from None
        pipeline.set_progress_bar_config(disable=True)
        pipeline = pipeline.to(request.device)
    kind = type(pipeline).__name__
    if kind not in PIPELINES:
        raise unknown("pipeline class", kind, PIPELINES, where=source)
    return StableDiffusion(label, pipeline, request.overrides)
