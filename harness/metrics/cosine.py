"""Scores that are the cosine of a picture and its prompt in one space."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from harness.metrics import Encoder, ItemMetric, ItemRow, Undefined

if TYPE_CHECKING:
    import torch


class TwoTowers(Encoder):
    """An encoder of pictures and of texts; features are unit vectors."""

    @abstractmethod
    def encode_text(self, text: str) -> torch.Tensor:
        """The unit vector [F], float32 on the CPU, of one text, cut at the model's window."""

    def truncates(self, text: str) -> bool:
        """Whether a text is longer than the model's window."""
        return False


class CosineMetric(ItemMetric):
    """Cosine of a picture and its prompt, each distinct prompt being embedded once."""

    @abstractmethod
    def build_encoder(self) -> TwoTowers:
        """The encoder of pictures and prompts."""

    @property
    def towers(self) -> TwoTowers:
        assert isinstance(self.encoder, TwoTowers)
        return self.encoder

    @cached_property
    def embedded(self) -> dict[str, torch.Tensor]:
        """Unit vectors of the prompts that were prepared."""
        return {}

    def truncates(self, prompt: str) -> bool:
        return self.towers.truncates(prompt)

    def prepare(self, prompts: Sequence[str]) -> None:
        self.embedded.update({prompt: self.towers.encode_text(prompt) for prompt in prompts})

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Sequence[float | Undefined]:
        return self.cosines(images, rows)

    def cosines(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> list[float]:
        seen = self.towers.encode(images)
        return [float(v @ self.embedded[row.prompt]) for v, row in zip(seen, rows, strict=True)]
