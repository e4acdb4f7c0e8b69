"""Where the items of a run are cut into shards: larger ones the further they are from the
beginning.

That depends on an item's own place alone, not on how many were asked for. So more prompts or seeds
extend a run without renaming a file, no plan has to be kept, and two runs have the same shards. And
a shard is small beside what is done when it is begun, so that a killed process loses little.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

SMALLEST = 32

_PARTS = 8  # shards from a place to its double
_MOST = 4096
_MOST_BYTES = 1 << 28  # of a shard's pixels, so of its file


@dataclass(frozen=True)
class Layout:
    """Shards of `least` items at the beginning, and of `most` at the end; by default of 32."""

    least: int = SMALLEST
    most: int = SMALLEST

    @classmethod
    def for_pictures(cls, height: int, width: int) -> Layout:
        """That of pictures of this size in pixels: a shard has at most 4096, or 256 MiB."""
        most = SMALLEST
        while most < _MOST and 2 * most * height * width * 3 <= _MOST_BYTES:
            most *= 2
        return cls(most=most)

    def size(self, place: int) -> int:
        """How many places the slice from `place` on holds: `least` times a power of two."""
        return min(self.least << _doubled(place // self.least), self.most)

    def slices(self, count: int) -> list[int]:
        """The first place of each slice of `count` places."""
        firsts, at = [], 0
        while at < count:
            firsts.append(at)
            at += self.size(at)
        return firsts

    def first(self, index: int) -> int:
        """The first place of a slice by its number."""
        return _first(self, index)

    def start(self, place: int) -> int:
        """The first place of the slice that a place is in."""
        return place - place % self.size(place)

    def block(self, seed: int, size: int) -> range:
        """The seeds of the block that a seed is in, for a slice of this size."""
        seeds = min(1 << _doubled(seed), max(self.most // size, 1))
        start = seed - seed % seeds
        return range(start, start + seeds)


def _doubled(place: int) -> int:
    """How often what is one at the beginning has doubled at a place."""
    return max(place // _PARTS, 1).bit_length() - 1


@lru_cache(1 << 14)
def _first(layout: Layout, index: int) -> int:
    at = 0
    for _ in range(index):
        at += layout.size(at)
    return at
