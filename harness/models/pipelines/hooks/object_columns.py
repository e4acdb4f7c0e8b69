"""The text tokens (columns of an attention map) of a prompt's target objects."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.core.errors import HarnessError
from harness.core.objects import Object

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextPart:
    """One text encoder's columns of a map: `length` of them, the last an end token if it is cut.

    `columns(tokenizer, prompt, object)` are an object's columns in text of unlimited length.
    """

    tokenizer: Any
    length: int
    columns: Callable[[Any, str, Object], list[int]]


def token_weights(
    name: str, parts: Sequence[TextPart], prompt: str, objects: Sequence[Object]
) -> torch.Tensor:
    """Weights [objects, columns] that average an attention map over each object's tokens, float32.

    The parts lie one after another; an object is averaged over its tokens in each, then over the
    parts that have it. Zero for an object that the model `name` cuts off everywhere. Raises
    HarnessError for a token that the prompt does not have.
    """
    weights = [_weights(objects, part, prompt) for part in parts]
    whole = torch.stack([part.sum(1) > 1 - 1e-6 for part in weights])
    for _ in range(int((~whole.any(0)).sum())):
        log.warning("%s does not read all of %.60r: an object is cut", name, prompt)
    having = torch.stack([part.sum(1) > 0 for part in weights]).sum(0)
    return torch.cat(weights, dim=1) / having.clamp(min=1)[:, None]


def _weights(objects: Sequence[Object], part: TextPart, prompt: str) -> torch.Tensor:
    weights = torch.zeros(len(objects), part.length)
    for row, target in enumerate(objects):
        columns = part.columns(part.tokenizer, prompt, target)
        kept = [column for column in columns if column < part.length - 1]
        weights[row, kept] = 1 / max(1, len(columns))
    return weights


def clip_columns(tokenizer: Any, prompt: str, target: Object) -> list[int]:
    """The columns of an object in CLIP's text, behind the start token.

    Words are tokenized on their own, so the tokens before a span are those of the text before.
    """

    def count(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False).input_ids)

    if target.token is None:
        return [
            1 + count(prompt[:first]) + token
            for first, last in target.spans
            for token in range(count(prompt[first:last]))
        ]
    if target.token >= count(prompt):
        raise HarnessError(
            f"there is no token {target.token} in the prompt {prompt!r}: it has {count(prompt)}, "
            "counted from 0"
        )
    return [1 + target.token]


def t5_columns(tokenizer: Any, prompt: str, target: Object) -> list[int]:
    """The columns of an object in T5's text, which has no start token; none for an object given by
    a token's number, which is CLIP's."""
    if target.token is not None:
        return []
    if not tokenizer.is_fast:
        raise HarnessError(
            "T5's tokenizer does not tell which word a token is of: use transformers 5 or later"
        )
    encoded = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
    return [
        column
        for column, (first, last) in enumerate(encoded.offset_mapping)
        if any(max(first, begin) < min(last, end) for begin, end in target.spans)
    ]
