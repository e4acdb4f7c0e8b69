"""Prompts, items (one prompt at one seed), and shards: slices of a run's items, a file each."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from harness.core.errors import HarnessError

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


@dataclass(frozen=True)
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
    """The unit of work and of storage: a slice of the prompts at one seed, or for unprompted runs,
    a slice of the seeds (`consecutive`, from `seed` on).

    `index` counts slices of the whole prompt set, so that more seeds or prompts extend a run
    without renaming a file.
    """

    seed: int
    index: int
    first: int  # place of its first prompt in the set
    prompts: tuple[Prompt, ...]
    consecutive: bool = False

    @property
    def seeds(self) -> list[int]:
        """The seed of every item."""
        return [self.seed + (i if self.consecutive else 0) for i in range(len(self.prompts))]

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


def item_id(prompt_id: str, seed: int) -> str:
    """The name of one image of a run: one prompt at one seed."""
    return f"{prompt_id}/{seed}"


def plan_shards(prompts: list[Prompt], seeds: list[int], size: int = 32) -> list[Shard]:
    """All shards of a run, prompts first: the early seeds are complete before later ones start.

    With an empty prompt alone, each shard is a slice of the seeds, filled from its beginning: it
    may hold a few seeds more than requested.
    """
    if len(prompts) == 1 and not prompts[0].text:
        last = {seed // size: seed for seed in sorted(seeds)}
        return [
            Shard(block * size, 0, 0, tuple(prompts) * (seed % size + 1), consecutive=True)
            for block, seed in last.items()
        ]
    return [
        Shard(seed, index, first, tuple(prompts[first : first + size]))
        for seed in seeds
        for index, first in enumerate(range(0, len(prompts), size))
    ]


def asked_items(prompts: list[Prompt], seeds: list[int]) -> set[str]:
    """The ids of every prompt at every seed."""
    return {item_id(prompt.id, seed) for prompt in prompts for seed in seeds}
