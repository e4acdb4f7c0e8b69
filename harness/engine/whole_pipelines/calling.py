"""Calls a function of a pipeline for a batch of pictures, and counts what it evaluates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.run_spec import DECLARED_GUIDANCE
from harness.engine.batch import Batch, Streams, with_classes
from harness.engine.whole_pipelines.network_rows import NetworkRows
from harness.engine.whole_pipelines.restoring import restored
from harness.engine.whole_pipelines.returned import read_returned
from harness.models.class_labels import encode_classes
from harness.models.pipelines.pipeline_model import PipelineModel
from harness.samplers.base import SAMPLERS


@dataclass(frozen=True)
class Asked:
    """What a function is asked for, a picture each: texts or classes, noise, generators."""

    texts: list[str]
    negatives: list[str | None]
    noise: torch.Tensor
    generators: list[torch.Generator] | None
    classes: list[int] | None = None

    @classmethod
    def of(
        cls, model: PipelineModel, texts: list[str], negatives: list[str | None], noise: Streams
    ) -> Asked:
        """The request of a batch: its first draws, and its generators for later ones."""
        first, classes = noise(), None
        if model.classes is not None:
            given = encode_classes(texts, model.classes, model.name, torch.device("cpu"))
            classes = with_classes(given, noise, model.classes)["class"].tolist()
        return cls(texts, negatives, first, getattr(noise, "generators", None), classes)

    def one(self, at: int) -> Asked:
        """The request of one of the pictures."""
        rows = slice(at, at + 1)
        return Asked(
            self.texts[rows],
            self.negatives[rows],
            self.noise[rows],
            self.generators and self.generators[rows],
            self.classes and self.classes[rows],
        )


def run_pipeline(
    model: PipelineModel,
    call: Call,
    asked: Asked,
    size: tuple[int, int],
    *,
    together: bool,
    unconditional: Sequence[Sequence[float]] = (),
) -> Batch:
    """The pictures of a batch, made at once or, where not `together`, one by one.

    `unconditional` are sketches of what networks are told without a prompt, see NetworkRows.
    """
    count = len(asked.texts)
    requests = [asked] if together else [asked.one(at) for at in range(count)]
    parts = [
        made(model, call, one, size, NetworkRows(model, one, unconditional)) for one in requests
    ]
    keys = dict.fromkeys(key for part in parts for key in part.evaluations)
    none = [0] * (len(asked.texts) // len(parts))
    pixels = [part.pixels for part in parts if part.pixels is not None]
    return Batch(
        torch.cat([part.native for part in parts]),
        {key: [n for part in parts for n in part.evaluations.get(key, none)] for key in keys},
        asked.classes,
        pixels=torch.cat(pixels) if pixels else None,
    )


@torch.no_grad()
def made(
    model: PipelineModel, call: Call, asked: Asked, size: tuple[int, int], rows: NetworkRows
) -> Batch:
    """What one call of the function makes; its evaluations are counted in `rows`.

    Raises HarnessError for whatever is wrong with the function or with what it returns.
    """
    sampler = SAMPLERS.get(call.name)
    own: dict[str, Any] = {k: v for k, v in call.params.items() if k != DECLARED_GUIDANCE}
    untold = all(text is None for text in asked.negatives)
    with restored(model.pipeline), rows.counting():
        result = sampler.run(
            pipeline=model.lent(),
            prompts=asked.texts if asked.classes is None else asked.classes,
            latents=model.as_latents(asked.noise),
            generators=asked.generators,
            height=size[0],
            width=size[1],
            negative_prompts=None if untold else [text or "" for text in asked.negatives],
            **own,
        )
    count = len(asked.texts)
    shapes = (model.latents_shape(size), model.latent_shape(size))
    try:
        native, pixels = read_returned(result, count, shapes, size)
    except HarnessError as error:
        raise HarnessError(f"{call.name} {error}") from None
    if not rows.total:
        raise HarnessError(f"{call.name} never evaluates the pipeline's network")
    return Batch(native.to(model.device), rows.evaluations, pixels=pixels)
