"""Stable Diffusion 1.x, 2.x, XL and fine-tunes of them, from a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from harness.core.objects import Object
from harness.models.base import Condition
from harness.models.pipelines.configurations import unet_abilities
from harness.models.pipelines.families import PIPELINES, Family
from harness.models.pipelines.hooks.attention_maps import AttentionMaps, attention_maps
from harness.models.pipelines.hooks.object_columns import TextPart, clip_columns, token_weights
from harness.models.pipelines.hooks.pixel_time import pixel_time
from harness.models.pipelines.noise_schedule import DiscreteSchedule, read_schedule
from harness.models.pipelines.pipeline_model import PipelineModel, Schedule


class StableDiffusion(PipelineModel):
    """A U-Net conditioned on CLIP's text; XL also on a pooled text and the picture's size."""

    part = "unet"

    def __init__(self, name: str, pipeline: Any, schedule: Schedule) -> None:
        super().__init__(name, pipeline, schedule)
        self._is_xl = self.net.config.addition_embed_type == "text_time"

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

    def evaluate(
        self, z: torch.Tensor, timestep: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        extra: dict[str, Any] = {}
        if self.distilled is not None:
            extra["timestep_cond"] = self.pipeline.get_guidance_scale_embedding(
                torch.full((len(z),), self.distilled - 1),
                embedding_dim=self.net.config.time_cond_proj_dim,
            ).to(z.device, z.dtype, non_blocking=True)
        if self._is_xl:
            height, width = z.shape[-2] * self.scale, z.shape[-1] * self.scale
            ids = torch.tensor([height, width, 0, 0, height, width], dtype=z.dtype)
            extra["added_cond_kwargs"] = {
                "text_embeds": condition["pooled"],
                "time_ids": ids.to(z.device, non_blocking=True).expand(len(z), -1),
            }
        hooks: AbstractContextManager[None] = nullcontext()
        if timestep.ndim > 1:
            hooks = pixel_time(self.net, timestep, self.times[1])
            timestep = timestep[:, 0, 0]  # ignored: the hooks replace it
        with hooks:
            return self.net(
                z, timestep, encoder_hidden_states=condition["text"], return_dict=False, **extra
            )[0]

    @property
    def times(self) -> tuple[int, int]:
        """The timestep of a run's last evaluation, and the number of timesteps."""
        assert isinstance(self.schedule, DiscreteSchedule)
        return self.schedule.times

    def token_weights(self, prompt: str, objects: Sequence[Object]) -> torch.Tensor:
        """Weights [objects, tokens] averaging over each object's tokens; see object_columns.py."""
        tokenizer = self.pipeline.tokenizer
        part = TextPart(tokenizer, tokenizer.model_max_length, clip_columns)
        return token_weights(self.name, [part], prompt, objects)

    def attention_maps(
        self, size: tuple[int, int], rows: slice
    ) -> AbstractContextManager[AttentionMaps]:
        """While open, record the cross-attention of the chosen rows; `size` is the latents'."""
        return attention_maps(self.net, size, rows)


for _pipeline in ("StableDiffusionPipeline", "StableDiffusionXLPipeline"):
    PIPELINES.add(
        _pipeline, Family("unet", read_schedule, StableDiffusion, abilities=unet_abilities)
    )
