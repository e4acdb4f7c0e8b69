"""Reader of AsynDM's target objects: a file NAME_item.json beside the prompts' NAME.json.

It holds `item_idx` and `item_k`: for each prompt's text a list of word indices, and of strengths.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from harness.core.errors import HarnessError
from harness.core.shards import Prompt
from harness.prompts.readers import decode, parse_json

Items = Mapping[str, Mapping[str, list[Any]]]

_KINDS: dict[str, tuple[type, ...]] = {"item_idx": (int,), "item_k": (int, float)}


def read_items(data: bytes, name: str) -> Items:
    """The `item_idx` and `item_k` of the file `name`; HarnessError for any other content."""
    content = parse_json(decode(data, name), name)
    if not isinstance(content, dict) or not set(_KINDS) <= set(content):
        raise HarnessError(f"{name} must hold the objects item_idx and item_k")
    for key, kind in _KINDS.items():
        table = content[key]
        if not isinstance(table, dict):
            raise HarnessError(f"{name}: {key} must be an object of one list for each prompt")
        for prompt, values in table.items():
            if not isinstance(values, list) or not all(type(v) in kind and v >= 0 for v in values):
                raise HarnessError(f"{name}: {key} of {prompt!r} must be a list of numbers from 0")
    return content


def with_items(prompts: Iterable[Prompt], items: Items, name: str) -> tuple[Prompt, ...]:
    """The prompts with their `item_idx` and `item_k` as notes. Raises HarnessError for a prompt
    that the file lacks, and for lists of different lengths."""
    return tuple(
        replace(prompt, notes={**prompt.notes, **_items_of(prompt.text, items, name)})
        for prompt in prompts
    )


def _items_of(text: str, items: Items, name: str) -> dict[str, list[Any]]:
    missing = [key for key in _KINDS if text not in items[key]]
    if missing:
        raise HarnessError(f"{name}: {missing[0]} has no entry for the prompt {text!r}")
    notes = {key: list(items[key][text]) for key in _KINDS}
    if len(notes["item_idx"]) != len(notes["item_k"]):
        raise HarnessError(
            f"{name}: {text!r} has {len(notes['item_idx'])} item_idx but "
            f"{len(notes['item_k'])} item_k"
        )
    return notes
