"""Base classes of scores that are a cosine of image and prompt embeddings, such as CLIP score."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from harness.metrics import Encoder, ItemMetric, ItemRow, Undefined

if TYPE_CHECKING:
    import torch


class TwoTowers(Encoder):
    """A dual encoder of pictures and texts, such as CLIP; features are unit vectors."""

    @abstractmethod
    def encode_text(self, text: str) -> torch.Tensor:
        """The unit vector [F], float32 on the CPU, of one text, cut at the model's window."""

    def truncates(self, text: str) -> bool:
        """Whether a text is longer than the model's window."""
        return False


class CosineMetric(ItemMetric):
    """Cosine of image and prompt embeddings; each distinct prompt is embedded once."""

    @abstractmethod
    def build_encoder(self) -> TwoTowers:
        """The dual encoder of pictures and prompts."""

    @property
    def towers(self) -> TwoTowers:
        assert isinstance(self.encoder, TwoTowers)
        return self.encoder

    @cached_property
    def embedded(self) -> dict[str, torch.Tensor]:
        """Unit vectors of prompts, filled by `prepare`."""
        return {}

    def truncates(self, prompt: str) -> bool:
        return self.towers.truncates(prompt)

    def prepare(self, prompts: Sequence[str]) -> None:
        self.embedded.update({prompt: self.towers.encode_text(prompt) for prompt in prompts})

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Sequence[float | Undefined]:
        return self.cosines(images, rows)

    def cosines(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> list[float]:
        vectors = self.towers.encode(images)
        return [float(v @ self.embedded[row.prompt]) for v, row in zip(vectors, rows, strict=True)]
