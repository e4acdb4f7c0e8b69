"""The images that two runs hold both, as the work of further runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.core.errors import HarnessError
from harness.core.layout import Layout
from harness.core.shards import Grid, Prompt, Shard, item_id
from harness.runs.existing import ROWS, shard_of_rows
from harness.store.run import Run


class HeldGrid(Grid):
    """The prompts and seeds of which both runs hold images; raises HarnessError if there are none.

    Of a shard that they hold in part, it is the prompts from its first on that all its seeds have.
    """

    def __init__(self, candidate: Run, baseline: Run) -> None:
        shards = [
            shard_of_rows(name, candidate.read("images", name, ROWS).to_pylist(), candidate.layout)
            for name in candidate.shards()
        ]
        here = {item for shard in shards for item in shard.item_ids}
        self._held = {item for names in baseline.places(here).values() for item in names}
        if not self._held:
            raise HarnessError(f"{candidate.path} and {baseline.path} hold no shard in common")
        super().__init__(_in_place(shards), sorted({seed for shard in shards for seed in shard.at}))
        layouts = {candidate.layout, baseline.layout, Layout.for_pictures(*candidate.spec.pixels)}
        of_each = [{i for s in self.shards(layout) for i in s.item_ids} for layout in layouts]
        self.items = set.intersection(*of_each)

    def shards(self, layout: Layout) -> list[Shard]:
        """As far as they are held, for a run of this layout."""
        cut = (self._cut(shard) for shard in super().shards(layout))
        return [shard for shard in cut if shard]

    def _cut(self, shard: Shard) -> Shard | None:
        counts = {seed: self._leading(shard.part, seed) for seed in shard.at}
        seeds = tuple(seed for seed, count in counts.items() if count)
        if not seeds:
            return None
        return replace(shard, part=shard.part[: min(counts[seed] for seed in seeds)], at=seeds)

    def _leading(self, part: Sequence[Prompt], seed: int) -> int:
        """How many prompts from the first on are held at a seed."""
        lacking = (at for at, p in enumerate(part) if item_id(p.id, seed) not in self._held)
        return next(lacking, len(part))


def _in_place(shards: Sequence[Shard]) -> list[Prompt]:
    """Prompts by their place; where no shard holds one, a prompt without images."""
    known = {shard.first + at: p for shard in shards for at, p in enumerate(shard.part)}
    return [known.get(place, Prompt("", "")) for place in range(max(known) + 1)]
