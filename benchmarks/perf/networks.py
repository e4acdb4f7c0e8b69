"""Networks of full published size with random weights, as a user has them on disk.

Nothing is downloaded: weights do not change how long a network takes. `tiny` builds the same
classes at toy widths, so that every path can be walked on a CPU.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from harness.models.edm.build import build

SIDE = {"sd15": 512, "sdxl": 1024}  # of pictures, in pixels
_TINY_WIDTHS = {"block_out_channels": (32, 64, 64, 64), "layers_per_block": 1}
_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@contextmanager
def made_on(device: str, dtype: torch.dtype) -> Iterator[None]:
    """Modules made inside have their weights on the device, in `dtype`, from seed 0."""
    held = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(), torch.device(device):
            torch.manual_seed(0)
            yield
    finally:
        torch.set_default_dtype(held)


def save_pipeline(name: str, folder: Path, device: str, tiny: bool = False) -> Path:
    """The folder of a diffusers pipeline, `sd15` or `sdxl`, as `save_pretrained` writes it."""
    from diffusers import AutoencoderKL, DDIMScheduler

    tokenizer = clip_tokenizer(folder / "words")
    steps = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
    shared = {"scheduler": DDIMScheduler(**_BETAS, **steps), "tokenizer": tokenizer}
    half = torch.float16 if torch.device(device).type == "cuda" else torch.float32
    with made_on(device, half):
        shared["vae"] = AutoencoderKL(**_vae(name, tiny))
        pipeline = (_sdxl if name == "sdxl" else _sd15)(shared, len(tokenizer), tiny)
    pipeline.save_pretrained(folder / name)
    return folder / name


def _vae(name: str, tiny: bool) -> dict[str, Any]:
    scaling = 0.13025 if name == "sdxl" else 0.18215
    return {
        "block_out_channels": (8, 8, 8, 8) if tiny else (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "latent_channels": 4,
        "layers_per_block": 1 if tiny else 2,
        "norm_num_groups": 4 if tiny else 32,
        "sample_size": SIDE[name],
        "scaling_factor": scaling,
        # The published configuration of SD 1.5 does not say; True is what diffusers takes then.
        "force_upcast": True,
    }


def clip(vocabulary: int, tiny: bool, *, large: bool = False) -> Any:
    """CLIP's text encoder: ViT-L/14's, or the `large` one of ViT-bigG/14."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    width, layers, heads = (1280, 32, 20) if large else (768, 12, 12)
    if tiny:
        width, layers, heads = (64, 2, 2) if large else (32, 2, 2)
    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=width,
        hidden_act="gelu" if large else "quick_gelu",
        vocab_size=49408,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
    )
    return (CLIPTextModelWithProjection if large else CLIPTextModel)(config).eval()


def unet_arguments(name: str, tiny: bool = False) -> dict[str, Any]:
    """The published configuration of the U-Net of `sd15` or `sdxl`, or of one of toy widths."""
    if name == "sd15":
        return {
            "sample_size": 64,
            "block_out_channels": (320, 640, 1280, 1280),
            "attention_head_dim": 8,
            "cross_attention_dim": 768,
            **({**_TINY_WIDTHS, "cross_attention_dim": 32, "sample_size": 8} if tiny else {}),
        }
    small = {
        "sample_size": 8,
        "block_out_channels": (32, 64, 64),
        "layers_per_block": 1,
        "transformer_layers_per_block": (1, 1, 2),
        "attention_head_dim": (2, 4, 4),
        "cross_attention_dim": 32 + 64,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 64 + 6 * 8,
    }
    return {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
        "use_linear_projection": True,
        **(small if tiny else {}),
    }


def _sd15(shared: dict[str, Any], vocabulary: int, tiny: bool) -> Any:
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    return StableDiffusionPipeline(
        unet=UNet2DConditionModel(**unet_arguments("sd15", tiny)).eval(),
        text_encoder=clip(vocabulary, tiny),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **shared,
    )


def _sdxl(shared: dict[str, Any], vocabulary: int, tiny: bool) -> Any:
    from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel

    return StableDiffusionXLPipeline(
        unet=UNet2DConditionModel(**unet_arguments("sdxl", tiny)).eval(),
        text_encoder=clip(vocabulary, tiny),
        text_encoder_2=clip(vocabulary, tiny, large=True),
        tokenizer_2=shared["tokenizer"],
        force_zeros_for_empty_prompt=True,
        **shared,
    )


def clip_tokenizer(folder: Path) -> Any:
    """CLIP's tokenizer with a token for every byte and no merges; 77 tokens a prompt."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True)
    letters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
    letters += [chr(256 + code) for code in range(256 - len(letters))]
    ends = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    words = [*letters, *(f"{letter}</w>" for letter in letters), *ends.values()]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **ends}
    settings |= {"pad_token": ends["eos_token"], "unk_token": ends["eos_token"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def edm2_arguments(tiny: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """What EDM2-S of ImageNet 512x512 and its guide, the unconditional XS, are made with.

    Karras et al. 2024, arXiv:2312.02696, table 6: 192 and 128 channels.
    """
    toy = {"channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4]} if tiny else {}
    common = {"img_resolution": 8 if tiny else 64, "img_channels": 4, "use_fp16": True, **toy}
    return (
        {**common, "label_dim": 1000, "model_channels": 64 if tiny else 192},
        {**common, "label_dim": 0, "model_channels": 64 if tiny else 128},
    )


def save_edm2(folder: Path, device: str, tiny: bool = False) -> tuple[Path, Path]:
    """EDM2-S and its guide: files with their descriptions."""
    names = ("edm2-s.safetensors", "edm2-xs-uncond.safetensors")
    large, small = (
        _save_edm2(folder / name, arguments, device)
        for name, arguments in zip(names, edm2_arguments(tiny), strict=True)
    )
    return large, small


def _save_edm2(path: Path, arguments: dict[str, Any], device: str) -> Path:
    from safetensors.torch import save_file

    with torch.device("meta"):
        shapes = {k: v.shape for k, v in build("Precond", arguments).state_dict().items()}
    with made_on(device, torch.float16):
        weights = {name: torch.randn(shape) for name, shape in shapes.items()}
    for name in [name for name in weights if name.endswith("gain")]:
        weights[name] = torch.full_like(weights[name], 0.3)  # scalars, in training of this order
    save_file(weights, path)
    description = {"class_name": "Precond", "init_kwargs": arguments}
    path.with_suffix(".json").write_text(json.dumps(description))
    return path
