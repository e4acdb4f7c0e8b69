"""A prompt's target objects: the data that prompt sets, samplers and models exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[int, int]
"""Start and end (exclusive) of a range of characters in a prompt."""


@dataclass(frozen=True)
class Object:
    """One target object: where the prompt names it, or its token, counted from 0 without the start
    token. `strength` is how strongly AsynDM holds it back, in [0, 1)."""

    spans: tuple[Span, ...] = ()
    token: int | None = None
    strength: float = 0.7


@dataclass(frozen=True)
class ObjectRequest:
    """A user's choice of target objects, in place of those in each prompt's notes.

    `names` are phrases of the prompt, or one text with commas; `tokens` the same tokens in every
    prompt, counted as an Object's; `strength` one number for all objects or one each. Where
    a field is None, the prompt's notes decide. For `released_tokens` see `find_objects`.
    """

    names: str | Sequence[str] | None = None
    tokens: Sequence[int] | None = None
    strength: float | Sequence[float] | None = None
    released_tokens: bool = False
