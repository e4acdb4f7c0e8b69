"""HunyuanDiT (Li et al. 2024, arXiv:2405.08748), from a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from harness.models.base import Condition
from harness.models.pipelines.families import PIPELINES, Family
from harness.models.pipelines.noise_schedule import read_schedule
from harness.models.pipelines.pipeline_model import PipelineModel

_CLIP_TOKENS, _T5_TOKENS = 77, 256  # the pipeline's lengths of text
_TRAINED_GRID = 512  # side in pixels of the grid that positions are scaled to
_ORIGINAL_SIZE = (1024, 1024)  # the source size that the pipeline conditions on


class HunyuanDiT(PipelineModel):
    """A transformer with rotary positions, conditioned on a bilingual CLIP and mT5 with masks.

    Version 1.1 is also conditioned on a style (there is only one) and the picture's sizes.
    """

    part = "transformer"

    @property
    def window(self) -> tuple[Any, int]:
        return self.pipeline.tokenizer_2, _T5_TOKENS

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str]) -> Condition:
        condition: Condition = {}
        for index, (name, tokens) in enumerate((("clip", _CLIP_TOKENS), ("t5", _T5_TOKENS))):
            text, _, mask, _ = self.pipeline.encode_prompt(
                prompt=list(prompts),
                device=self.device,
                dtype=self.dtype,
                do_classifier_free_guidance=False,
                max_sequence_length=tokens,
                text_encoder_index=index,
            )
            condition |= {name: text, f"{name}_mask": mask}
        return condition

    def evaluate(
        self, z: torch.Tensor, timestep: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        height, width = z.shape[-2] * self.scale, z.shape[-1] * self.scale
        sizes = torch.tensor([*_ORIGINAL_SIZE, height, width, 0, 0], dtype=z.dtype)
        output = self.net(
            z,
            timestep.to(self.dtype),
            encoder_hidden_states=condition["clip"],
            text_embedding_mask=condition["clip_mask"],
            encoder_hidden_states_t5=condition["t5"],
            text_embedding_mask_t5=condition["t5_mask"],
            image_meta_size=sizes.to(z.device, non_blocking=True).repeat(len(z), 1),
            style=torch.zeros(len(z), dtype=torch.long, device=z.device),
            image_rotary_emb=self._positions(height, width),
            return_dict=False,
        )[0]
        return output[:, : z.shape[1]]  # the rest is a variance

    @lru_cache(maxsize=4)  # noqa: B019  # a process holds one model
    def _positions(self, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotary embeddings of the patches of a picture, on the grid of those trained on."""
        from diffusers.models.embeddings import get_2d_rotary_pos_embed
        from diffusers.pipelines.hunyuandit.pipeline_hunyuandit import (
            get_resize_crop_region_for_grid,
        )

        patch = self.scale * self.net.config.patch_size
        grid = (height // patch, width // patch)
        return get_2d_rotary_pos_embed(
            self.net.inner_dim // self.net.num_heads,
            get_resize_crop_region_for_grid(grid, _TRAINED_GRID // patch),
            grid,
            device=self.device,
            output_type="pt",
        )


PIPELINES.add("HunyuanDiTPipeline", Family("transformer", read_schedule, HunyuanDiT))
