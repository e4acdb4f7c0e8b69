"""CLIP image encoders of two published set metrics, FD-CLIP and CMMD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.metrics import encoder, per_batch
from harness.metrics.open_clip_encoder import OpenClip

if TYPE_CHECKING:
    import torch


@encoder("clip")
@dataclass
class ClipFeatures(OpenClip):
    """CLIP's image features before they are made unit vectors, as FD-CLIP takes them.

    Kynkaanniemi et al. 2023 (arXiv:2203.06026), who take ViT-B/32 of OpenAI, the default here.
    """

    model: str = "ViT-B-32"
    pretrained: str = "openai"

    @per_batch
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network.encode_image(self.pixels(images), normalize=False)
        return features.float()


@encoder("cmmd-clip")
@dataclass
class CmmdFeatures(OpenClip):
    """CLIP's image features as CMMD takes them: unit vectors, of the picture's central square.

    Jayasumana et al. 2024 (arXiv:2401.09603): ViT-L/14 of OpenAI at 336x336.
    """

    model: str = "ViT-L-14-336"
    pretrained: str = "openai"

    @per_batch
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return super().encode(central_square(images))


def central_square(images: torch.Tensor) -> torch.Tensor:
    """The largest central square of images [B, 3, H, W]."""
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side]
