"""Images whose files or folders are called like their prompts: `a red ring/0.png`,
`a_red_ring_000001.png`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from harness.core.errors import HarnessError
from harness.core.shards import Prompt
from harness.store.image_files import Entry


def named_prompts(
    entries: Sequence[Entry], prompts: Sequence[Prompt], where: str
) -> dict[str, Prompt] | None:
    """The prompt of each image by the image's name; None where names are not those of prompts.

    Raises HarnessError where most are, and some are not.
    """
    by_words: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        by_words.setdefault(_words(prompt.text), []).append(prompt)
    known = {words: same[0] for words, same in by_words.items() if words and len(same) == 1}
    known = {words: prompt for words, prompt in known.items() if not _is_count(words)}
    found = {entry.name: _prompt(entry.name, known) for entry in entries}
    named = {name: prompt for name, prompt in found.items() if prompt}
    if len(named) * 2 <= len(entries):
        return None
    if lacking := [name for name in found if name not in named]:
        raise HarnessError(
            f"{len(named)} of {len(entries)} images are called like prompts of {where}, and "
            f"{lacking[0]!r} is not: rename it, or give a table with the columns file,prompt,seed"
        )
    return named


def _prompt(name: str, known: Mapping[str, Prompt]) -> Prompt | None:
    path = PurePosixPath(name)
    stem = _words(path.stem)
    words = [stem, re.sub(r"_\d+$", "", stem), re.sub(r"^\d+_", "", stem)]
    words += [re.sub(r"_\d+$", "", words[2]), *(_words(part) for part in path.parts[-2::-1])]
    return next((known[one] for one in words if one in known), None)


def _words(text: str) -> str:
    """A text as file systems leave it: its letters and digits in lower case."""
    return re.sub(r"[\W_]+", "_", text.lower()).strip("_")


def _is_count(words: str) -> bool:
    return re.fullmatch(r"[\d_]+", words) is not None
