"""FLUX.1 [dev] of full published size with random weights: its folder, its own call, a bare loop.

Its second text encoder has the published width in two layers of its 24: prompts are encoded before
the clock starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.perf.contestants import Harness, Pipeline, as_bytes
from benchmarks.perf.networks import clip, clip_tokenizer, made_on

DISTILLED = 3.5
"""The guidance scale that the network takes as an input, the published default."""


def transformer_arguments(tiny: bool = False) -> dict[str, Any]:
    """The published configuration of the transformer, or of one of toy widths."""
    toy = {
        "in_channels": 16,
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "pooled_projection_dim": 32,
        "axes_dims_rope": (4, 4, 8),
    }
    return {"guidance_embeds": True, **(toy if tiny else {})}


def save_flux(folder: Path, device: str, tiny: bool = False) -> Path:
    """The folder of the pipeline, as `save_pretrained` writes it."""
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        FluxPipeline,
        FluxTransformer2DModel,
    )

    words, (encoder, pieces) = clip_tokenizer(folder / "words"), _t5(device, tiny)
    half = torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
    with made_on(device, half):
        pipeline = FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
            vae=AutoencoderKL(**_vae(tiny)),
            text_encoder=clip(len(words), tiny),
            tokenizer=words,
            text_encoder_2=encoder,
            tokenizer_2=pieces,
            transformer=FluxTransformer2DModel(**transformer_arguments(tiny)).eval(),
        )
    pipeline.save_pretrained(folder / "flux")
    return folder / "flux"


def _vae(tiny: bool) -> dict[str, Any]:
    return {
        "block_out_channels": (8, 8, 8, 8) if tiny else (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "latent_channels": 4 if tiny else 16,
        "layers_per_block": 1 if tiny else 2,
        "norm_num_groups": 4 if tiny else 32,
        "sample_size": 64 if tiny else 1024,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "force_upcast": True,
    }


def _t5(device: str, tiny: bool) -> tuple[Any, Any]:
    """T5's encoder and a tokenizer of letters."""
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0)]
    vocabulary += [(piece, -float(i + 1)) for i, piece in enumerate("▁abcdefghijklmnopqrstuvwxyz")]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=512)
    sizes = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_heads": 64}
    if tiny:
        sizes = {"d_model": 32, "d_kv": 8, "d_ff": 32, "num_heads": 2}
    with made_on(device, torch.float32 if tiny else torch.bfloat16):
        config = T5Config(
            vocab_size=len(tokenizer), num_layers=2, feed_forward_proj="gated-gelu", **sizes
        )
        return T5EncoderModel(config).eval(), tokenizer


class Flux(Pipeline):
    """diffusers' own call and the bare loop of flow matching, on the harness's loaded networks."""

    def __init__(self, harness: Harness) -> None:
        super().__init__(harness)
        self.packed = harness.model.as_latents

    def conditions(self) -> tuple[Any, Any]:
        """Embeddings of the harness's prompts by the pipeline; FLUX has no negative ones here."""
        with torch.inference_mode():
            text, pooled, self.text_ids = self.pipeline.encode_prompt(self.harness.texts, None)
        return {"text": text, "pooled": pooled}, None

    def encodes(self) -> Callable[..., Any]:
        def work(steps: int) -> Iterator[torch.Tensor]:
            yield self.conditions()[0]["text"]

        return work

    def first(self) -> torch.Tensor:
        return self.packed(self.harness.noise()())

    def call(self, rows: int | None = None) -> Callable[..., Any]:
        def work(steps: int) -> Iterator[torch.Tensor]:
            found = self.pipeline(
                prompt_embeds=self.condition["text"][:rows],
                pooled_prompt_embeds=self.condition["pooled"][:rows],
                latents=self.first()[:rows],
                num_inference_steps=steps,
                guidance_scale=DISTILLED,
                height=self.size[0],
                width=self.size[1],
                output_type="pt",
            )
            yield as_bytes(found.images)

        return work

    @torch.inference_mode()
    def bare(self, steps: int) -> Iterator[torch.Tensor]:
        """Euler's method along the network's velocity: z <- z + (s' - s) v; and the decoder."""
        z, (height, width) = self.first(), self.size
        side = 2 * self.pipeline.vae_scale_factor
        places = self.pipeline._prepare_latent_image_ids(
            len(z), height // side, width // side, z.device, z.dtype
        )
        given = {
            "encoder_hidden_states": self.condition["text"],
            "pooled_projections": self.condition["pooled"],
            "guidance": torch.full((len(z),), DISTILLED, device=z.device),
            "txt_ids": self.text_ids,
            "img_ids": places,
        }
        levels = self._levels(steps, z.shape[1])
        on_device = levels.to(z.device, z.dtype)
        for at, (level, after) in enumerate(pairwise(levels.tolist())):
            times = on_device[at].expand(len(z))
            v = self.net(hidden_states=z, timestep=times, return_dict=False, **given)[0]
            z = (z.float() + (after - level) * v).to(z.dtype)
        yield z
        config = self.vae.config
        latents = self.pipeline._unpack_latents(z, height, width, self.pipeline.vae_scale_factor)
        latents = latents.to(self.vae.dtype) / config.scaling_factor + config.shift_factor
        yield as_bytes((self.vae.decode(latents, return_dict=False)[0] / 2 + 0.5).clamp(0, 1))

    def _levels(self, steps: int, tokens: int) -> torch.Tensor:
        """The levels [steps+1] of a picture of so many tokens, as the pipeline asks for them."""
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift

        scheduler = self.pipeline.scheduler
        sigmas = torch.linspace(1.0, 1 / steps, steps).numpy()
        scheduler.set_timesteps(sigmas=sigmas, mu=calculate_shift(tokens))
        return scheduler.sigmas.cpu()
