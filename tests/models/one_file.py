"""A Stable Diffusion 1 pipeline as one file, with the names of its tensors as sites have them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_OUTER = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def save_as_one_file(pipeline: Any, file: Path) -> None:
    """Write a StableDiffusionPipeline's weights as one .safetensors."""
    from safetensors.torch import save_file

    layers = pipeline.unet.config.layers_per_block
    tensors: dict[str, torch.Tensor] = {}
    for key, value in pipeline.unet.state_dict().items():
        tensors[f"model.diffusion_model.{_of_unet(key, layers)}"] = value
    count = len(pipeline.vae.config.up_block_types)
    for key, value in pipeline.vae.state_dict().items():
        tensors[f"first_stage_model.{_of_vae(key, count)}"] = value
    for key, value in pipeline.text_encoder.state_dict().items():
        inner = key if key.startswith("text_model.") else f"text_model.{key}"
        tensors[f"cond_stage_model.transformer.{inner}"] = value
    save_file({key: value.contiguous() for key, value in tensors.items()}, file)


def _renamed(key: str, names: dict[str, str]) -> str:
    for name, other in names.items():
        key = re.sub(rf"(?:^|(?<=\.)){re.escape(name)}(?=\.)", other, key)
    return key


def _of_unet(key: str, layers: int) -> str:
    found = re.match(r"(down_blocks|up_blocks|mid_block)\.(?:(\d+)\.)?(\w+)\.(\d+)\.(.*)", key)
    if not found:
        return _renamed(key, _OUTER)
    side, block, kind, at, rest = found[1], int(found[2] or 0), found[3], int(found[4]), found[5]
    inner = _renamed(rest, _RESNET) if kind == "resnets" else rest
    place = 0 if kind == "resnets" else 1
    if side == "mid_block":
        return f"middle_block.{2 * at + place}.{inner}"
    if kind == "downsamplers":
        return f"input_blocks.{(block + 1) * (layers + 1)}.0.{rest.replace('conv', 'op')}"
    if side == "down_blocks":
        return f"input_blocks.{1 + block * (layers + 1) + at}.{place}.{inner}"
    if kind == "upsamplers":
        return f"output_blocks.{block * (layers + 1) + layers}.2.{rest}"
    return f"output_blocks.{block * (layers + 1) + at}.{place}.{inner}"


def _of_vae(key: str, count: int) -> str:
    key = key.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    key = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", key)
    key = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", key)
    up = re.match(r"decoder\.up_blocks\.(\d+)\.(.*)", key)
    if up:
        rest = re.sub(r"resnets\.(\d+)", r"block.\1", up[2]).replace("upsamplers.0", "upsample")
        key = f"decoder.up.{count - 1 - int(up[1])}.{rest}"
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    if "mid_block.attentions.0" in key:
        key = _renamed(key.replace("mid_block.attentions.0", "mid.attn_1"), _ATTENTION)
    return key
