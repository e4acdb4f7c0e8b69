"""The target objects of a batch of prompts, as weights over the tokens of their attention maps."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from harness.core.errors import HarnessError
from harness.core.objects import Object, ObjectRequest
from harness.prompts.target_objects import find_objects

log = logging.getLogger(__name__)

DEFAULT_STRENGTH = 0.7


class TextModel(Protocol):
    """What of a model is needed here."""

    device: torch.device

    def token_weights(self, prompt: str, objects: Sequence[Object]) -> torch.Tensor:
        """[objects, tokens]: what averages each object's tokens of an attention map, float32."""


@dataclass(frozen=True)
class Targets:
    """The objects of a batch, when a sampler asks for them."""

    model: TextModel
    prompts: Sequence[str]
    notes: Sequence[Mapping[str, Any]]

    def __call__(self, request: ObjectRequest) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights [B, objects, tokens] that average each object's tokens, and strengths
        [B, objects]; where a prompt has fewer objects than others, zeros.

        See `objects.find_objects`. Strengths not given are the notes' own, else 0.7.
        """
        weights, strengths = [], []
        for prompt, notes in zip(self.prompts, self.notes, strict=True):
            found = find_objects(prompt, notes, request)
            found = with_strength(prompt, found, request.strength)
            if not found:
                log.warning("no object is known in %.60r: its pixels keep one pace", prompt)
            weights.append(self.model.token_weights(prompt, found))
            known = torch.tensor([one.strength for one in found])
            strengths.append(known * (weights[-1].sum(1) > 0))
        return self._stacked(weights), self._stacked(strengths)

    def _stacked(self, rows: list[torch.Tensor]) -> torch.Tensor:
        most = max(1, *map(len, rows))
        padded = [torch.cat([one, one.new_zeros(most - len(one), *one.shape[1:])]) for one in rows]
        return torch.stack(padded).to(self.model.device)


def with_strength(
    prompt: str, objects: list[Object], strength: float | Sequence[float] | None
) -> list[Object]:
    """Every object with its strength: what is asked for, its own, or the default."""
    if strength is None:
        own = [DEFAULT_STRENGTH if one.strength is None else one.strength for one in objects]
        return [replace(one, strength=value) for one, value in zip(objects, own, strict=True)]
    listed = [strength] * len(objects) if isinstance(strength, (int, float)) else strength
    if len(listed) != len(objects):
        raise HarnessError(
            f"strength gives {len(listed)} numbers, but the prompt {prompt!r} has {len(objects)} "
            "objects: give one number for all, or name the objects"
        )
    return [replace(one, strength=value) for one, value in zip(objects, listed, strict=True)]
