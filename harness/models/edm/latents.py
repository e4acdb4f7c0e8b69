"""Decodes latents of EDM2's 512x512 networks to pictures with Stable Diffusion's autoencoder.

EDM2's latents are whitened by channel, and the autoencoder is used on pixels in [0, 1] without its
own scaling factor of 0.18215, as in the published code of Karras et al. 2024, arXiv:2312.02696.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from harness.core.errors import HarnessError, first_line
from harness.core.libraries import align, quiet
from harness.fetch.download import forbidden
from harness.models.portions import Portions

VAE = "stabilityai/sd-vae-ft-mse"
DOWNSAMPLING = 8
_MEAN, _STD = (5.81, 3.25, 0.12, -2.15), (4.17, 4.62, 3.71, 3.28)  # of the encoder's latents
_STD_WANTED = 0.5
_AT_ONCE = 8


def to_autoencoder(latents: torch.Tensor) -> torch.Tensor:
    """A network's latents [B, 4, h, w] in the autoencoder's scaling, float32."""
    std, mean = (
        torch.tensor(v).reshape(1, -1, 1, 1).to(latents.device, non_blocking=True)
        for v in (_STD, _MEAN)
    )
    scale = _STD_WANTED / std
    return (latents.to(torch.float32) + mean * scale) / scale


def decode(
    vae: Any,
    latents: torch.Tensor,
    dtype: torch.dtype = torch.float32,
    portions: Portions | None = None,
) -> torch.Tensor:
    """Pictures, uint8 [B, 3, 8h, 8w] on the latents' device; fractions are cut off, as published.

    `dtype` is that of the autoencoder.
    """
    scaled = to_autoencoder(latents).to(dtype)
    portions = portions or Portions.on(latents.device)
    whole = portions.decoded(lambda part: vae.decode(part).sample, scaled, _AT_ONCE)
    return (whole.float().clamp(0, 1) * 255).to(torch.uint8)


def find_vae(folder: str | None) -> Path:
    """The autoencoder's folder: the user's, or the hub's, downloaded if need be.

    Raises HarnessError, which says what to do, if that fails.
    """
    if folder is None:
        return _from_hub()
    path = Path(folder).expanduser()
    if not (path / "config.json").is_file():
        raise HarnessError(f"vae={folder}: there is no config.json, as diffusers writes it")
    return path


@lru_cache
def _from_hub() -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                VAE,
                allow_patterns=["config.json", "diffusion_pytorch_model.safetensors"],
                local_files_only=forbidden(),
            )
        )
    except Exception as error:  # its client raises many kinds
        raise HarnessError(
            f"pictures need the autoencoder {VAE}, which is not on this machine and cannot be "
            f"downloaded ({type(error).__name__}). Where there is a network, run: hf download "
            f"{VAE}. Without one here, copy its folder and name it: MODEL(vae=FOLDER). "
            "'harness sample --latents FILE' does without"
        ) from None


def load_vae(folder: Path, device: torch.device) -> Any:
    """The autoencoder in `folder`, float32."""
    from diffusers import AutoencoderKL

    with quiet():
        try:
            vae = AutoencoderKL.from_pretrained(
                str(folder), dtype=torch.float32, local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise HarnessError(
                f"cannot load the autoencoder in {folder}: {first_line(error)}"
            ) from None
    vae = vae.to(device).eval().requires_grad_(False)
    align(vae)
    return vae
