"""Metrics of the embedded world of shapes by its judge network: alignment and Frechet distance.

One forward pass of the judge serves all three. They are defined for captions of the world's grammar
only, whatever model made the pictures; of prompts `class N`, for the caption in their notes (see
prompts/shapes.py). The judge reads pictures of 64x64: others are averaged down to that, and
smaller ones repeat their pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.core.data import data_path
from harness.metrics import (
    Encoder,
    HarnessError,
    ItemMetric,
    ItemRow,
    SetMetric,
    Undefined,
    metric,
    per_batch,
)
from harness.metrics.frechet import Frechet
from harness.metrics.references import read_reference

if TYPE_CHECKING:
    import torch

REFERENCES = {"captions": "refs/shapes-judge.npz", "classes": "refs/shapes-classes-judge.npz"}
_MAKERS = {"captions": "shapes.make_reference", "classes": "shapes_edm.make_class_reference"}
_MODEL = "the embedded world's judge network"
_PAPER = "this project (see the model card of shapes)"
_LICENCE = "Apache-2.0"


def not_a_caption(prompt: str) -> str | None:
    """Reason why a prompt is no caption of the world of shapes; None if it is one."""
    from harness.world.grammar import parse

    try:
        parse(prompt)
    except ValueError:
        return "not a caption of the shapes world"
    return None


def caption_of(row: ItemRow) -> str:
    """The caption of a row: its prompt or, of a prompt `class N`, the one in its notes."""
    if row.prompt.startswith("class "):
        return str(row.notes.get("caption", row.prompt))
    return row.prompt


class ShapesJudge(Encoder):
    """The judge network: 64 features, and the objects that it detects in a picture."""

    name = "shapes-judge"

    def unsuitable(self, row: ItemRow, size: tuple[int, int]) -> str | None:
        return not_a_caption(caption_of(row))

    def files(self) -> Sequence[str]:
        from harness.world.judge import WEIGHTS

        if not WEIGHTS.exists():
            raise HarnessError(
                f"the judge's weights {WEIGHTS} are missing: they are part of the package; install "
                "it again, or train them with python -m harness.training.shapes.train_judge"
            )
        return [str(WEIGHTS)]

    def setup(self, device: str) -> None:
        import copy

        from harness.world.judge import FEATURES, load_judge

        self.judge = copy.deepcopy(load_judge()).to(device)  # load_judge hands out one instance
        self.width = FEATURES

    @per_batch
    def look(self, images: torch.Tensor) -> Any:
        """The judge's `Judgement` of images uint8 [B, 3, H, W]."""
        return self.judge.look(images)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.look(images).features
        return features


class _Graded(ItemMetric):
    """A metric that grades the judge's detections against the caption's demands."""

    def build_encoder(self) -> Encoder:
        return ShapesJudge()

    def grades(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> list[tuple[float, bool]]:
        """For each image the share of its caption's demands that it meets, and whether all."""
        from harness.world.grade import grade
        from harness.world.grammar import parse

        assert isinstance(self.encoder, ShapesJudge)
        judgement = self.encoder.look(images)
        return [
            grade(objects, background, parse(caption_of(row)))
            for objects, background, row in zip(
                judgement.objects, judgement.backgrounds, rows, strict=True
            )
        ]


@metric(
    "shapes-alignment",
    title="Alignment",
    direction="higher",
    range=(0, 1),
    model=_MODEL,
    paper=_PAPER,
    licence=_LICENCE,
    needs_prompts=True,
)
class ShapesAlignment(_Graded):
    """Share of the caption's demands (objects, counts, relations ...) that the picture meets."""

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Sequence[float | Undefined]:
        return [share for share, _ in self.grades(images, rows)]


@metric(
    "shapes-exact",
    title="Exact alignment",
    direction="higher",
    range=(0, 1),
    model=_MODEL,
    paper=_PAPER,
    licence=_LICENCE,
    needs_prompts=True,
)
class ShapesExact(_Graded):
    """1 if the picture meets all of its caption's demands, else 0."""

    def score(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Sequence[float | Undefined]:
        return [float(exact) for _, exact in self.grades(images, rows)]


@metric(
    "shapes-fd",
    title="Judge FD",
    direction="lower",
    range=(0, float("inf")),
    model=_MODEL,
    paper=_PAPER,
    licence=_LICENCE,
    needs_prompts=True,
)
@dataclass
class ShapesFrechet(SetMetric):
    """Frechet distance, in judge features, to drawings of the world's captions or classes.

    `reference`: what the drawings show, held-out captions or, at 32x32, the 48 classes of one
    object. `allow_few`: also for no more images than features, where the value is mostly bias.
    """

    reference: Literal["captions", "classes"] = "captions"
    allow_few: bool = False

    def build_encoder(self) -> Encoder:
        return ShapesJudge()

    def statistic(self) -> Frechet:
        return Frechet(read_reference(data_path(REFERENCES[self.reference])), self.allow_few)

    def check(self) -> None:
        super().check()
        made_by = self.statistic().reference.meta.get("judge")
        if made_by and made_by != self.features.weights():
            raise HarnessError(
                f"{REFERENCES[self.reference]} was made with another judge than the one in this "
                f"package: make it again with python -m harness.training.{_MAKERS[self.reference]}"
            )
