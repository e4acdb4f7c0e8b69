"""Public checkpoints of pipelines that are captured, with the settings of their model cards.

Where a card names none, they are the defaults of the pipeline of diffusers that it recommends.
"""

from __future__ import annotations

from typing import Any

from harness.core.run_spec import DISTILLED
from harness.models.pipelines.hub import add_checkpoint

_FLUX_DEV = "FLUX [dev] Non-Commercial License"


def _add(name: str, title: str, repo: str, licence: str, **about: Any) -> None:
    usual = {"size": 1024, "size_multiple": 16, "batch_size": 4, "abilities": frozenset()}
    add_checkpoint(name, title, repo, licence, **{**usual, "gpu_dtype": "bfloat16", **about})


_add(
    "flux-dev",
    "FLUX.1 [dev] (flow, distilled guidance)",
    "black-forest-labs/FLUX.1-dev",
    _FLUX_DEV,
    steps=50,
    guidance=1.0,
    settings={DISTILLED: 3.5},
    distils=True,
)
_add(
    "flux-schnell",
    "FLUX.1 [schnell] (flow, few steps)",
    "black-forest-labs/FLUX.1-schnell",
    "Apache-2.0",
    steps=4,
    guidance=1.0,
)
_add(
    "flux2-dev",
    "FLUX.2 [dev] (flow, distilled guidance)",
    "black-forest-labs/FLUX.2-dev",
    _FLUX_DEV,
    steps=50,
    guidance=1.0,
    unconditional=False,
    settings={DISTILLED: 4.0},
    distils=True,
    batch_size=1,
)
_add(
    "qwen-image",
    "Qwen-Image (flow, guidance at the conditional's norm)",
    "Qwen/Qwen-Image",
    "Apache-2.0",
    size=1328,
    steps=50,
    guidance=4.0,
    defaults={"guidance_norm": True},
    batch_size=1,
)
_add(
    "z-image-turbo",
    "Z-Image-Turbo (flow, few steps)",
    "Tongyi-MAI/Z-Image-Turbo",
    "Apache-2.0",
    steps=8,
    guidance=1.0,
)
_add(
    "sana",
    "SANA 1.6B (flow)",
    "Efficient-Large-Model/Sana_1600M_1024px_diffusers",
    "NVIDIA's, see its model card",
    size_multiple=32,
    steps=20,
    guidance=4.5,
)
_add(
    "lumina2",
    "Lumina-Image 2.0 (flow, guidance at the conditional's norm)",
    "Alpha-VLLM/Lumina-Image-2.0",
    "Apache-2.0",
    steps=30,
    guidance=4.0,
    defaults={"guidance_norm": True},
)
_add(
    "pixart-sigma",
    "PixArt-Sigma XL",
    "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
    "CreativeML Open RAIL++-M",
    steps=20,
    guidance=4.5,
    gpu_dtype="float16",
)
_add(
    "dit-xl-2-256",
    "DiT-XL/2 of 256x256 ImageNet classes",
    "facebook/DiT-XL-2-256@refs/pr/1",  # which has its weights as safetensors
    "CC-BY-NC-4.0",
    size=256,
    size_multiple=256,
    steps=50,
    guidance=4.0,
    classes=1000,
    batch_size=16,
    gpu_dtype="float16",
)
