"""Diversity of the images of one prompt, which large guidance scales reduce."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from harness.metrics import Encoder, PromptMetric, Undefined, metric
from harness.metrics.dinov2 import Dinov2, Resize
from harness.metrics.open_clip_encoder import OpenClip
from harness.metrics.shapes_clip import DualEncoder


class _Diversity(PromptMetric):
    def values(self, features: np.ndarray[Any, Any]) -> Sequence[float | Undefined]:
        return distances(features)


def distances(features: np.ndarray[Any, Any]) -> list[float | Undefined]:
    """For each row of [n, F] its mean cosine distance, 1 - cos in [0, 2], to the others.

    The mean of all is the mean over pairs.
    """
    n = len(features)
    if n < 2:
        return [Undefined("there is no other image of its prompt")] * n
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    unit = features / np.maximum(lengths, np.finfo(np.float64).tiny)
    own = np.square(unit).sum(1)
    return list(1 - (unit @ unit.sum(0) - own) / (n - 1))


@metric(
    "diversity",
    title="Diversity (DINOv2)",
    direction="higher",
    range=(0, 2),
    model="DINOv2 ViT-L/14; others by diversity(model=...)",
    paper="-",
    licence="Apache-2.0 (weights)",
)
@dataclass
class DinoDiversity(_Diversity):
    """Mean cosine distance, 1 - cos, of DINOv2 features to the prompt's other images, in [0, 2].

    The mean over a prompt's images is the mean distance of its pairs. Undefined for a prompt of one
    image: generate more seeds. `resize`, `model` and `checkpoint` as for fd-dinov2's encoder.
    """

    resize: Resize = "edm2"
    model: Literal["vits14", "vitb14", "vitl14"] = "vitl14"
    checkpoint: str = ""

    def build_encoder(self) -> Encoder:
        return Dinov2(self.resize, self.model, self.checkpoint)


@metric(
    "diversity-clip",
    title="Diversity (CLIP)",
    direction="higher",
    range=(0, 2),
    model="open_clip ViT-L-14, openai; others by diversity-clip(model=..., pretrained=...)",
    paper="-",
    licence="MIT (openai weights)",
)
@dataclass
class ClipDiversity(_Diversity):
    """Mean cosine distance, 1 - cos, of CLIP features to the prompt's other images, in [0, 2].

    The mean over a prompt's images is the mean distance of its pairs. Undefined for a prompt of one
    image: generate more seeds. `model` and `pretrained` as for clip.
    """

    model: str = "ViT-L-14"
    pretrained: str = "openai"

    def build_encoder(self) -> Encoder:
        return OpenClip(self.model, self.pretrained)


@metric(
    "shapes-diversity",
    title="Dual-encoder diversity",
    direction="higher",
    range=(0, 2),
    model="the embedded world's dual encoder (a small CLIPModel)",
    paper="this project (see the model card of shapes)",
    licence="Apache-2.0",
    needs_prompts=True,
)
class ShapesDiversity(_Diversity):
    """Mean cosine distance of dual-encoder features to the prompt's other images, in [0, 2]."""

    def build_encoder(self) -> Encoder:
        return DualEncoder()
