"""CLIP score on open_clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.metrics import ItemRow, metric
from harness.metrics.cosine import CosineMetric
from harness.metrics.open_clip_encoder import OpenClip

if TYPE_CHECKING:
    import torch


@metric(
    "clip",
    title="CLIP score",
    direction="higher",
    range=(-1, 1),
    model="open_clip ViT-L-14, openai; others by clip(model=..., pretrained=...)",
    paper="Radford et al. 2021, arXiv:2103.00020; Hessel et al. 2021, arXiv:2104.08718",
    licence="MIT (openai weights)",
    needs_prompts=True,
)
@dataclass
class Clip(CosineMetric):
    """Cosine between image and prompt embeddings, in [-1, 1]: not scaled by 100, not cut at 0.

    `model` is a name of open_clip, `pretrained` one of its tags, a local file of weights, taken for
    OpenAI's where the model has them, or TAG:FILE for a file of another tag's weights.
    `scale=torchmetrics` is 100 max(cosine, 0), in [0, 100], as its CLIPScore. A prompt longer than
    the model's window is cut, and its items are counted as truncated.
    """

    model: str = "ViT-L-14"
    pretrained: str = "openai"
    scale: Literal["cosine", "torchmetrics"] = "cosine"

    def build_encoder(self) -> OpenClip:
        return OpenClip(self.model, self.pretrained)

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> torch.Tensor:
        cosines = self.cosines(images, rows)
        return cosines if self.scale == "cosine" else 100 * cosines.double().clamp(min=0)


@metric(
    "clip-g",
    title="CLIP score (ViT-g)",
    direction="higher",
    range=(-1, 1),
    model="open_clip ViT-g-14, laion2b_s12b_b42k",
    paper="Cherti et al. 2022, arXiv:2212.07143; as in Xu et al. 2023 (Restart), arXiv:2306.14878",
    licence="MIT",
    needs_prompts=True,
)
@dataclass
class ClipG(Clip):
    """Cosine of image and prompt in the ViT-g-14 of the Restart paper; otherwise as clip."""

    model: str = "ViT-g-14"
    pretrained: str = "laion2b_s12b_b42k"
