"""Base classes of scores that are a cosine of image and prompt embeddings, such as CLIP score."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from harness.metrics import Encoder, ItemMetric, ItemRow
from harness.metrics.base import Scores

if TYPE_CHECKING:
    import torch

_TOGETHER = 16
"""Prompts of a batch on a GPU, which one alone leaves idle."""


class TwoTowers(Encoder):
    """A dual encoder of pictures and texts, such as CLIP; features are unit vectors."""

    @abstractmethod
    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit vectors [N, F], float32 on the device, of texts, cut at the model's window."""

    def truncates(self, text: str) -> bool:
        """Whether a text is longer than the model's window."""
        return False


class CosineMetric(ItemMetric):
    """Cosine of image and prompt embeddings; each distinct prompt is embedded once.

    On a GPU in batches of one size, filled up, so that a vector does not depend on their number.
    """

    together = 1

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

    def setup(self, device: str) -> None:
        self.embedded = {prompt: vector.to(device) for prompt, vector in self.embedded.items()}
        self.together = _TOGETHER if device.startswith("cuda") else 1

    def prepare(self, prompts: Sequence[str]) -> None:
        new = [prompt for prompt in prompts if prompt not in self.embedded]
        for at in range(0, len(new), self.together):
            texts = new[at : at + self.together]
            filled = [*texts, *texts[:1] * (self.together - len(texts))]
            self.embedded.update(zip(texts, self.towers.encode_texts(filled), strict=False))

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Scores:
        return self.cosines(images, rows)

    def cosines(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> torch.Tensor:
        """[B], float32, on the device."""
        import torch

        vectors = self.towers.encode(images)
        texts = [self.embedded[row.prompt] for row in rows]
        return torch.stack([v @ text for v, text in zip(vectors, texts, strict=True)])
