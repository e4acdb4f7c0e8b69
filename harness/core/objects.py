"""A prompt's target objects, as prompt sets, samplers and models hand them on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[int, int]
"""Characters of a prompt, as a slice."""


@dataclass(frozen=True)
class Object:
    """One target object: where the prompt names it, or its token, counted from 0 without the start
    token. `strength` is how strongly AsynDM holds it back, in [0, 1)."""

    spans: tuple[Span, ...] = ()
    token: int | None = None
    strength: float = 0.7


@dataclass(frozen=True)
class ObjectRequest:
    """What a user asks for in place of the objects that are known of each prompt.

    `names` are phrases of the prompt, or one text with commas; `tokens` the same tokens in every
    prompt, counted as an Object's; `strength` one number for all objects or one each. None leaves
    it to the prompt's notes. `released_tokens` is how to read these, see `find_objects`.
    """

    names: str | Sequence[str] | None = None
    tokens: Sequence[int] | None = None
    strength: float | Sequence[float] | None = None
    released_tokens: bool = False
