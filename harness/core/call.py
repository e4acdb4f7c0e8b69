"""Parser and printer of calls, `name(param=value, ...)`: how users write samplers and models.

Names and parameters are not checked here but by the registries and signatures that have them.
"""

from __future__ import annotations

import ast
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

from harness.core.errors import HarnessError

_BARE = {"true": True, "false": False, "none": None, "null": None}


_LIBRARIES = ("diffusers", "torchmetrics")
"""Names that stand for a library: the first word in their brackets is the name of one of its parts.
"""

_CLOSERS = {"(": ")", "[": "]", "{": "}"}

_DEEPEST = 50
"""Brackets within brackets."""


@dataclass(frozen=True)
class Call:
    """A name with parameters, as users write it: `zigzag(steps=10, inversion=released)`."""

    name: str
    params: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        inner = ", ".join(f"{key}={show_value(value)}" for key, value in self.params.items())
        return f"{self.name}({inner})" if inner else self.name


def parse_call(text: str) -> Call:
    """Parse `name` or `name(key=value, ...)`; a name may be a path.

    `diffusers(NAME, key=value, ...)` is the call of `diffusers:NAME`, and so with `torchmetrics`.
    Values are numbers, `true`, `false`, `none`, quoted text, bare words and paths, and (nested)
    lists of these. Raises HarnessError for text that does not parse and for a repeated parameter.
    """
    text = text.strip()
    if not text.endswith(")"):
        if not text or ("(" in text and "=" in text):
            raise HarnessError(f"cannot read {text!r}: expected NAME or NAME(parameter=value, ...)")
        return Call(text)
    head, _, body = text[:-1].partition("(")
    if not head.strip():
        raise HarnessError(f"cannot read {text!r}: expected NAME(parameter=value, ...)")
    params: dict[str, Any] = {}
    pieces = _split(body, text)
    if head.strip() in _LIBRARIES and pieces and "=" not in pieces[0]:
        head = f"{head.strip()}:{pieces.pop(0).strip()}"
    for piece in pieces:
        key, equals, value = piece.partition("=")
        key = key.strip()
        if not equals or not key.isidentifier():
            raise HarnessError(
                f"cannot read {piece.strip()!r} in {text!r}: expected parameter=value"
            )
        if key in params:
            raise HarnessError(f"parameter {key!r} is given twice in {text!r}")
        params[key] = _value(value.strip(), text)
    return Call(head.strip(), params)


def split_list(text: str) -> list[str]:
    """The parts of a comma-separated list, with commas inside of brackets and quotes kept."""
    return [piece.strip() for piece in _split(text, text)]


def _split(body: str, whole: str) -> list[str]:
    """Cut at commas outside of brackets and quotes."""
    pieces, start, stack, quote = [], 0, [], ""
    for at, char in enumerate(body):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in _CLOSERS:
            stack.append(_CLOSERS[char])
            if len(stack) > _DEEPEST:
                raise HarnessError(
                    f"more than {_DEEPEST} brackets in brackets in {whole[:60]!r}..."
                )
        elif stack and char == stack[-1]:
            stack.pop()
        elif char in ")]}":
            raise HarnessError(f"unbalanced {char!r} in {whole!r}")
        elif char == "," and not stack:
            pieces.append(body[start:at])
            start = at + 1
    if stack or quote:
        raise HarnessError(f"missing {quote or stack[-1]!r} in {whole!r}")
    pieces.append(body[start:])
    return [piece for piece in pieces if piece.strip()]


def _value(text: str, whole: str) -> Any:
    if not text:
        raise HarnessError(f"a parameter without a value in {whole!r}")
    if text[0] == "[" and text[-1] == "]":
        return [_value(piece.strip(), whole) for piece in _split(text[1:-1], whole)]
    if text[0] in "'\"":
        try:
            return ast.literal_eval(text)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            raise HarnessError(f"cannot read the text {text} in {whole!r}") from None
    if text.lower() in _BARE:
        return _BARE[text.lower()]
    for number in (int, float):
        try:
            value = number(text)
        except ValueError:
            continue
        if isinstance(value, int) and abs(value) >= 1 << 63:
            raise HarnessError(f"{text[:30]} is too large a number in {whole[:60]!r}")
        if not math.isfinite(value):
            raise HarnessError(f"{text[:30]} is not a finite number in {whole[:60]!r}")
        return value
    return text


def show_value(value: Any) -> str:
    """A parameter's value as text that parses back to it; strings are quoted where needed."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(show_value(item) for item in value) + "]"
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, str) and not _bare(value):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _bare(text: str) -> bool:
    """Whether a text reads as itself without quotes."""
    try:
        return bool(re.fullmatch(r"[\w./:@-]+", text)) and _value(text, text) == text
    except HarnessError:  # inf, nan and numbers of many digits are no texts without quotes
        return False
