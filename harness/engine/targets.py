"""The target objects of a batch of prompts, as weights over the tokens of their attention maps."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch.nn.utils.rnn import pad_sequence

from harness.core.objects import Object, ObjectRequest
from harness.prompts.target_objects import find_objects
from harness.samplers.base import Targets

log = logging.getLogger(__name__)


class TextModel(Protocol):
    """A model whose text encoder maps objects to tokens."""

    device: torch.device

    def token_weights(self, prompt: str, objects: Sequence[Object]) -> torch.Tensor:
        """Weights [objects, tokens], float32, that average attention over each object's tokens."""


def find_targets(
    model: TextModel,
    prompts: Sequence[str],
    notes: Sequence[Mapping[str, Any]],
    request: ObjectRequest,
) -> Targets:
    """The objects of every prompt, see `find_objects`; strength 0 where the text was truncated
    before the object."""
    weights, strengths = [], []
    for prompt, known in zip(prompts, notes, strict=True):
        found = find_objects(prompt, known, request)
        if not found:
            log.warning("no object is known in %.60r: its pixels keep one pace", prompt)
        weights.append(model.token_weights(prompt, found))
        strengths.append(torch.tensor([one.strength for one in found]) * (weights[-1].sum(1) > 0))
    kappa = _stacked(strengths)
    tokens = _stacked(weights).to(model.device, non_blocking=True)
    return Targets(tokens, kappa.to(model.device, non_blocking=True), float(kappa.max()))


def _stacked(rows: list[torch.Tensor]) -> torch.Tensor:
    """Rows of one object or more, zeros where a prompt has fewer than others."""
    padded = pad_sequence(rows, batch_first=True)
    return padded if padded.shape[1] else padded.new_zeros(len(rows), 1, *padded.shape[2:])
