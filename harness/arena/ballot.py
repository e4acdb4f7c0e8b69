"""What a rater has seen and said of two runs, and what comes next."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache

from harness.errors import HarnessError
from harness.store.pictures import Broken
from harness.store.run import Run
from harness.store.scores import ImageRow, image_rows
from harness.store.votes import Vote, read_votes, votes_file, write_votes

SIDES = ("left", "right")
CHOICES = (*SIDES, "tie")


@dataclass(frozen=True)
class Pair:
    """Two images of one prompt and seed. `left` is "candidate" or "baseline"."""

    item_id: str
    prompt: str
    left: str


class Ballot:
    """The common images of two runs in an order of their own, and one rater's votes on them.

    Order and sides are drawn from `seed`: the same for every rater of the same seed. Votes are
    kept in `folder`/votes, each written as it is given. Pairs in which an image failed are not
    shown: a failed image loses without a vote.
    """

    def __init__(
        self,
        candidate: Run,
        baseline: Run,
        folder: str,
        rater: str,
        seed: int = 0,
        limit: int | None = None,
    ) -> None:
        if candidate.spec.run_id == baseline.spec.run_id:
            raise HarnessError(f"{candidate.path} would be compared with itself: name another run")
        self.runs = {"candidate": candidate, "baseline": baseline}
        self.rater = rater
        self._places = {role: _places(run) for role, run in self.runs.items()}
        self.pairs = self._drawn(seed)[:limit]
        self._ids = candidate.spec.run_id, baseline.spec.run_id
        self.path = votes_file(folder, *self._ids, rater)
        self._votes = {vote.item_id: vote for vote in read_votes(self.path)}

    def _drawn(self, seed: int) -> list[Pair]:
        a, b = self._places.values()
        common = sorted(set(a) & set(b))
        if not common:
            raise HarnessError(
                "the two runs have no image of the same prompt and seed that both made: generate "
                "both with the same prompts and seeds"
            )
        for item in common:
            if a[item][2] != b[item][2]:
                raise HarnessError(f"item {item!r} is not of the same prompt in the two runs")
        order = random.Random(seed)  # of the standard library: the same on every machine
        order.shuffle(common)
        return [Pair(item, a[item][2], order.choice([*self.runs])) for item in common]

    @property
    def done(self) -> int:
        return sum(pair.item_id in self._votes for pair in self.pairs)

    @property
    def next(self) -> int | None:
        """The place of the first pair without a vote; None at the end."""
        left = (at for at, pair in enumerate(self.pairs) if pair.item_id not in self._votes)
        return next(left, None)

    def vote(self, at: int, choice: str) -> None:
        """Keep `choice` (left, right or tie) for the pair at a place; a later one replaces it."""
        pair = self.pairs[at]
        other = "baseline" if pair.left == "candidate" else "candidate"
        winner = {"left": pair.left, "right": other, "tie": "tie"}[choice]
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._votes.pop(pair.item_id, None)
        vote = Vote(pair.item_id, *self._ids, winner, pair.left, self.rater, now)
        self._votes[pair.item_id] = vote
        self._save()

    def undo(self) -> None:
        """Take the last vote back."""
        if self._votes:
            self._votes.popitem()
            self._save()

    def _save(self) -> None:
        write_votes(self.path, list(self._votes.values()))

    def image(self, at: int, side: str) -> bytes | Broken:
        """The picture on a side of the pair at a place."""
        pair = self.pairs[at]
        other = "baseline" if pair.left == "candidate" else "candidate"
        role = pair.left if side == "left" else other
        shard, row, _ = self._places[role][pair.item_id]
        return _rows(self.runs[role], shard)[row].read()


def _places(run: Run) -> dict[str, tuple[str, int, str]]:
    """Shard, row and prompt of every image that was made, by item."""
    found = {}
    for shard in run.shards():
        table = run.read("images", shard, ["item_id", "prompt", "failed"]).to_pylist()
        for at, row in enumerate(table):
            if row["failed"] is None:
                found[row["item_id"]] = (shard, at, row["prompt"] or "")
    return found


@lru_cache(maxsize=8)
def _rows(run: Run, shard: str) -> list[ImageRow]:
    return image_rows(run, shard)
