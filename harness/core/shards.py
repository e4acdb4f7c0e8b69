"""Prompts, items (one prompt at one seed), and shards: slices of a run's items, a file each."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from harness.core.errors import HarnessError
from harness.core.layout import SMALLEST, Layout

_MOST_SEEDS = 10_000_000
_LARGEST = 2**63 - 1
_DIGITS = 100  # of a seed as it is written, zeros before it included


def parse_seeds(text: str) -> list[int]:
    """Seeds from `0-3`, `7` or `0,2,5-8`: increasing, without repeats, each in [0, 2**63).

    Of those above 2**32 - 1 not every run has noise: see `engine.noise.check_seeds`.
    """
    return sorted(listed_seeds(text))


def listed_seeds(text: str) -> list[int]:
    """`parse_seeds` in the order in which they are written."""
    seeds: list[int] = []
    for piece in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", piece)
        if not match:
            raise HarnessError(f"cannot read seeds {text!r}: expected for example 0-3 or 0,2,5-8")
        if max(len(match[1]), len(match[2] or "")) > _DIGITS:
            raise HarnessError(f"seeds {piece.strip()[:40]!r} are above {_LARGEST}")
        first, last = int(match[1]), int(match[2] or match[1])
        if max(first, last) > _LARGEST:
            raise HarnessError(f"seed {max(first, last)} is above {_LARGEST}")
        if last < first:
            raise HarnessError(f"seeds {piece.strip()!r} run backwards: write {last}-{first}")
        if len(seeds) + last - first >= _MOST_SEEDS:
            raise HarnessError(
                f"seeds {text[:40]!r} are more than {_MOST_SEEDS:,}: a run has fewer"
            )
        seeds.extend(range(first, last + 1))
    if len(set(seeds)) != len(seeds):
        raise HarnessError(f"seeds {text!r} name a seed twice")
    return seeds


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt of a prompt set. `notes` are further data as JSON (target objects, class)."""

    id: str
    text: str
    category: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def notes_json(self) -> str:
        return json.dumps(self.notes, ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True)
class Shard:
    """The unit of work and of storage: some consecutive prompts, each at some seeds; its items are
    ordered by seed, then prompt.

    `seed` and `index` name it: the first seed of its block, and the number of its slice of the
    prompts, see layout.py. A later request for more of the same makes it anew, with all of them.
    """

    seed: int
    index: int
    first: int  # place of its first prompt in the set
    part: tuple[Prompt, ...]
    at: tuple[int, ...]  # seeds

    @property
    def count(self) -> int:
        """The number of its items."""
        return len(self.part) * len(self.at)

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompt of every item."""
        return self.part * len(self.at)

    @property
    def seeds(self) -> list[int]:
        """The seed of every item."""
        return [seed for seed in self.at for _ in self.part]

    @property
    def places(self) -> list[int]:
        """The place of every item's prompt in the set; of an empty prompt, which stands for all,
        that of the seed among 32."""
        if unprompted(self.part):
            return [seed % SMALLEST for seed in self.at]
        return list(range(self.first, self.first + len(self.part))) * len(self.at)

    @property
    def item_ids(self) -> list[str]:
        return [item_id(p.id, seed) for p, seed in zip(self.prompts, self.seeds, strict=True)]

    @property
    def name(self) -> str:
        return f"part-{self.seed:05d}-{self.index:05d}"

    @property
    def items_key(self) -> str:
        """Hash of the shard's prompts and seeds; a file with another key is not this shard."""
        rows = [
            (p.id, p.text, p.category, p.notes, seed)
            for p, seed in zip(self.prompts, self.seeds, strict=True)
        ]
        return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]


def unprompted(prompts: Sequence[Prompt]) -> bool:
    """Whether a prompt set is one empty prompt, so that items are seeds alone."""
    return len(prompts) == 1 and not prompts[0].text


def item_id(prompt_id: str, seed: int) -> str:
    """The name of one image of a run: one prompt at one seed."""
    return f"{prompt_id}/{seed}"


def plan_shards(
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    layout: Layout = Layout(),  # noqa: B008
) -> list[Shard]:
    """All shards of a run, early seeds before later ones.

    With an empty prompt alone, each shard is a slice of the seeds. It is filled from each 32nd seed
    on: it may hold a few seeds more than requested.
    """
    if unprompted(prompts):
        return list(_of_seeds(tuple(prompts), sorted(seeds), layout))
    found = []
    for index, first in enumerate(layout.slices(len(prompts))):
        size = layout.size(first)
        part = tuple(prompts[first : first + size])
        for start, block in groupby(sorted(seeds), lambda s: layout.block(s, size).start):  # noqa: B023
            found.append(Shard(start, index, first, part, tuple(block)))
    return sorted(found, key=lambda shard: (shard.seed, shard.index))


class Grid:
    """Every one of some prompts at every one of some seeds, as runs of any layout have them."""

    def __init__(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> None:
        self.prompts, self._seeds = tuple(prompts), seeds
        self._planned: dict[Layout, list[Shard]] = {}

    def shards(self, layout: Layout) -> list[Shard]:
        """The shards of a run of this layout, planned once."""
        if layout not in self._planned:
            self._planned[layout] = plan_shards(self.prompts, self._seeds, layout)
        return self._planned[layout]


def _of_seeds(prompts: tuple[Prompt, ...], seeds: Sequence[int], layout: Layout) -> Iterator[Shard]:
    for start, block in groupby(seeds, layout.start):
        last = {seed // layout.least: seed for seed in block}
        filled = [s for at, seed in last.items() for s in range(at * layout.least, seed + 1)]
        yield Shard(start, 0, 0, prompts, tuple(filled))


def asked_items(prompts: list[Prompt], seeds: list[int]) -> set[str]:
    """The ids of every prompt at every seed."""
    return {item_id(prompt.id, seed) for prompt in prompts for seed in seeds}
