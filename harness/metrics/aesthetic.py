"""LAION's aesthetic predictor on CLIP ViT-L/14."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from harness.fetch import weights
from harness.fetch.download import PublicFile
from harness.metrics import Encoder, ItemMetric, ItemRow, metric
from harness.metrics.linear_head import LinearHead
from harness.metrics.open_clip_encoder import OpenClip

if TYPE_CHECKING:
    import torch

HEAD = PublicFile(
    "metrics",
    "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/"
    "sac%2Blogos%2Bava1-l14-linearMSE.pth",
)
_WHAT = "the aesthetic predictor's head"


@metric(
    "aesthetic",
    title="Aesthetic score",
    direction="higher",
    range=(-float("inf"), float("inf")),
    model="open_clip ViT-L-14, openai, with LAION's sac+logos+ava1-l14-linearMSE",
    paper="Schuhmann et al. 2022, arXiv:2210.08402 (improved aesthetic predictor)",
    licence="Apache-2.0 (head), MIT (openai weights)",
    needs_prompts=False,
)
@dataclass
class Aesthetic(ItemMetric):
    """Predicted human rating of the picture, nominally from 1 to 10, not clipped to that range.

    Five linear layers without activations on the unit image vector of CLIP ViT-L/14. `head`: a
    local sac+logos+ava1-l14-linearMSE.pth. `model` and `pretrained` as for clip, with which it
    shares the network's pass.
    """

    head: str = ""
    model: str = "ViT-L-14"
    pretrained: str = "openai"

    def build_encoder(self) -> Encoder:
        return OpenClip(self.model, self.pretrained)

    @cached_property
    def head_file(self) -> str:
        return weights.named_file(self.head, _WHAT) if self.head else str(HEAD.obtain())

    def files(self) -> Sequence[str]:
        return [self.head_file]

    def setup(self, device: str) -> None:
        tensors = weights.load_tensors(self.head_file, _WHAT)
        self.predict = LinearHead(tensors, self.features.width, self.head_file, device)

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> torch.Tensor:
        return self.predict(self.features.encode(images))
