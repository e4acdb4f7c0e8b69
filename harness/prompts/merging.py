"""One text is one prompt: a table's rows of equal text are merged."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from harness.core.errors import HarnessError
from harness.core.shards import Prompt

log = logging.getLogger(__name__)

_READ = ("objects", "strength", "item_idx", "item_k", "caption")
"""Notes that samplers and judges read: a prompt has one of each."""


def merged(prompts: Iterable[Prompt], name: str, *, notes: bool = True) -> tuple[Prompt, ...]:
    """The distinct texts as prompts, in order of first appearance; says so where some repeat.

    An image is a function of its text and seed, so rows of equal text would be the same images. The
    first row gives the id. Categories are joined, `colors + counting`. A note that is the same in
    all rows stays; another becomes the list of the rows' values, null where a row lacks it. `notes`
    False: the notes are only named, where they differ, and dropped. `name` opens the message.

    Raises HarnessError where notes differ that say what a picture must show (`objects`, `strength`,
    `item_idx`, `item_k`, `caption`).
    """
    prompts = list(prompts)
    rows: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        rows.setdefault(prompt.text, []).append(prompt)
    repeated = [same for same in rows.values() if len(same) > 1]
    differ = differing_notes(prompts)
    if notes:
        _check(repeated, name)
    if repeated:
        log.warning("%s", _message(name, len(prompts), len(rows), repeated, differ, notes))
    distinct = (_one(same) for same in rows.values())
    return tuple(prompt if notes else replace(prompt, notes={}) for prompt in distinct)


def differing_notes(prompts: Iterable[Prompt]) -> list[str]:
    """The notes that are not the same in all rows of some text, in order: `merged` names them."""
    rows: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        rows.setdefault(prompt.text, []).append(prompt)
    return list(dict.fromkeys(key for same in rows.values() for key in _differing(same)))


def _one(rows: Sequence[Prompt]) -> Prompt:
    first = rows[0]
    if len(rows) == 1:
        return first
    different = _differing(rows)
    every = dict.fromkeys(key for row in rows for key in row.notes)
    notes: dict[str, Any] = {
        key: [row.notes.get(key) for row in rows] if key in different else first.notes[key]
        for key in every
    }
    return replace(first, category=" + ".join(_categories(rows)), notes=notes)


def _categories(rows: Sequence[Prompt]) -> list[str]:
    return list(dict.fromkeys(row.category for row in rows if row.category))


def _differing(rows: Sequence[Prompt]) -> list[str]:
    """The notes that are not the same in all rows of a text, in order."""
    keys = dict.fromkeys(key for row in rows for key in row.notes)
    # Of values of any kind, arrays too, their texts are compared.
    return [key for key in keys if len({repr(row.notes.get(key)) for row in rows}) > 1]


def _check(repeated: Sequence[Sequence[Prompt]], name: str) -> None:
    for rows in repeated:
        if odd := [key for key in _differing(rows) if key in _READ]:
            raise HarnessError(
                f"{name}: {len(rows)} rows are the prompt {rows[0].text[:60]!r}, with different "
                f"{odd[0]}. One text is one prompt: give it one {odd[0]}, or word the texts apart"
            )


def _message(
    name: str,
    rows: int,
    distinct: int,
    repeated: Sequence[Sequence[Prompt]],
    differ: Sequence[str],
    notes: bool,
) -> str:
    several = [" + ".join(found) for same in repeated if len(found := _categories(same)) > 1]
    text = f"{name}: {rows:,} rows hold {distinct:,} distinct prompts: equal texts are one prompt "
    text += "(more images of it: more seeds)"
    if several:
        text += f"; {len(several):,} of them in several categories, joined ({several[0]!r})"
    if differ:
        how = "which stay together in the notes" if notes else "which is not read"
        text += f"; they differ in {', '.join(differ[:8])}, {how}"
    return text
