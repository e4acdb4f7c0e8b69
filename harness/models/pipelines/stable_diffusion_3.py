"""Stable Diffusion 3 and 3.5 (Esser et al. 2024, arXiv:2403.03206), from a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from harness.core.errors import HarnessError
from harness.core.objects import Object
from harness.models.base import Condition
from harness.models.pipelines.configurations import PIXEL_ABILITIES, read_json, read_scheduler
from harness.models.pipelines.families import PIPELINES, Family
from harness.models.pipelines.flow import FlowSchedule, FlowSettings
from harness.models.pipelines.hooks.attention_maps import AttentionMaps
from harness.models.pipelines.hooks.joint_maps import joint_maps
from harness.models.pipelines.hooks.object_columns import (
    TextPart,
    clip_columns,
    t5_columns,
    token_weights,
)
from harness.models.pipelines.hooks.token_time import token_time
from harness.models.pipelines.pipeline_model import PipelineModel

_T5_TOKENS = 256  # the pipeline's length of T5's text


class StableDiffusion3(PipelineModel):
    """A multimodal transformer conditioned on two CLIPs and T5, which may be left out."""

    part = "transformer"
    schedule: FlowSchedule

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        patch, most = self.net.config.patch_size, self.net.config.pos_embed_max_size
        side = most * patch * self.scale
        if max(size) > side:
            raise HarnessError(
                f"{self.name} knows positions up to {side} pixels a side, not {size[0]}x{size[1]}"
            )
        channels, height, width = super().latent_shape(size)
        self.schedule.check_tokens((height // patch) * (width // patch))
        return (channels, height, width)

    @property
    def window(self) -> tuple[Any, int]:
        if self.pipeline.text_encoder_3 is None:
            return self.pipeline.tokenizer, int(self.pipeline.tokenizer_max_length)
        return self.pipeline.tokenizer_3, _T5_TOKENS

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str]) -> Condition:
        text, _, pooled, _ = self.pipeline.encode_prompt(
            prompt=list(prompts),
            prompt_2=None,
            prompt_3=None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=_T5_TOKENS,
        )
        return {"text": text, "pooled": pooled}

    def evaluate(
        self, z: torch.Tensor, timestep: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        hooks: AbstractContextManager[None] = nullcontext()
        if timestep.ndim > 1:
            hooks = token_time(self.net, timestep, condition["pooled"])
            # Text tokens get the mean of the map; of a constant map it is exact in float64.
            timestep = timestep.double().mean((1, 2)).to(timestep.dtype)
        with hooks:
            return self.net(
                hidden_states=z,
                timestep=timestep,
                encoder_hidden_states=condition["text"],
                pooled_projections=condition["pooled"],
                return_dict=False,
            )[0]

    def token_weights(self, prompt: str, objects: Sequence[Object]) -> torch.Tensor:
        """Weights [objects, tokens] that average over each object's tokens; see object_columns.py.

        The text is CLIP's tokens (both CLIPs have the same), then T5's: an object is half in each
        if T5 is loaded. Tokens given by number are CLIP's.
        """
        pipeline = self.pipeline
        parts = [TextPart(pipeline.tokenizer, pipeline.tokenizer_max_length, clip_columns)]
        if pipeline.text_encoder_3 is not None:
            parts.append(TextPart(pipeline.tokenizer_3, _T5_TOKENS, t5_columns))
        weights = token_weights(self.name, parts, prompt, objects)
        unread = pipeline.tokenizer_max_length + _T5_TOKENS - weights.shape[1]
        return torch.nn.functional.pad(weights, (0, unread))

    def attention_maps(
        self, size: tuple[int, int], rows: slice
    ) -> AbstractContextManager[AttentionMaps]:
        """While open, record how the chosen rows attend to the text; `size` is the latents'."""
        return joint_maps(self.net, size, rows)


def _schedule(folder: Path, overrides: Mapping[str, Any]) -> FlowSchedule:
    network = read_json(folder / "transformer" / "config.json")
    side = network["sample_size"] // network["patch_size"]
    return FlowSettings.read(read_scheduler(folder), overrides).schedule(side**2)


PIPELINES.add(
    "StableDiffusion3Pipeline",
    Family(
        "transformer",
        _schedule,
        StableDiffusion3,
        optional=(("text_encoder_3", "tokenizer_3"),),
        gpu_dtype="bfloat16",
        abilities=lambda config: PIXEL_ABILITIES,
    ),
)
