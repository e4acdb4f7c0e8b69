"""Pairs of images of two runs, a rater's votes on them, and the next pair to vote on."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from itertools import compress
from typing import NamedTuple

from harness.core.errors import HarnessError, unknown
from harness.store.pictures import Broken
from harness.store.run import Run
from harness.store.scores import ImageRow, image_rows
from harness.store.texts import one_prompt_a_text
from harness.store.votes import QUESTIONS, Vote, all_votes, read_votes, votes_file, write_votes

SIDES = ("left", "right")
CHOICES = (*SIDES, "tie")


@dataclass(frozen=True)
class Pair:
    """Two images of one prompt, of the candidate (`item_id`) and the baseline (`other_id`).

    `left` is "candidate" or "baseline". `settled` is the winner where an image failed, which needs
    no vote: candidate, baseline or tie.
    """

    item_id: str
    other_id: str
    prompt: str
    left: str
    settled: str | None

    def on(self, side: str) -> str:
        """Whose image is shown left or right: candidate or baseline."""
        other = "baseline" if self.left == "candidate" else "candidate"
        return self.left if side == "left" else other


class _Place(NamedTuple):
    """Where an image is; `prompt_id` is its text's."""

    shard: str
    row: int
    prompt_id: str
    prompt: str
    failed: bool


class Ballot:
    """Pairs of images of two runs in an order of their own, and one rater's votes on them.

    Images of the same prompt and seed make a pair; of a run that is not paired with the other, each
    image of a prompt at most once, with one of the other's drawn at random, so that the share of
    votes won is that of two images drawn independently. Pairs, order and sides are drawn from
    `seed`: the same for every rater of the same seed. Votes are kept in `folder`/votes, each
    written as it is given. A pair in which an image failed is not shown: in its turn it counts as a
    vote for the other image, so that failures weigh as much as in all pairs, however many are seen.
    `question`, a name of QUESTIONS, is asked of every pair; a folder holds votes on one question.
    """

    def __init__(
        self,
        candidate: Run,
        baseline: Run,
        folder: str,
        rater: str,
        seed: int = 0,
        limit: int | None = None,
        question: str = "prompt",
    ) -> None:
        if question not in QUESTIONS:
            raise unknown("question", question, QUESTIONS)
        if others := {*all_votes(folder)["question"]} - {question}:
            raise HarnessError(
                f"the votes in {folder} answer {QUESTIONS[others.pop()]!r}: go on with that "
                "question, or give another folder for this one (--out)"
            )
        self.question = question
        if candidate.spec.run_id == baseline.spec.run_id:
            raise HarnessError(f"{candidate.path} would be compared with itself: name another run")
        self.runs = {"candidate": candidate, "baseline": baseline}
        self.rater = rater
        self._places = {role: _places(run) for role, run in self.runs.items()}
        self.pairs = self._drawn(seed)[:limit]
        self._ids = candidate.spec.run_id, baseline.spec.run_id
        self.path = votes_file(folder, *self._ids, rater)
        self._votes = {(vote.item_id, vote.other_id): vote for vote in read_votes(self.path)}
        self._settle()

    def _drawn(self, seed: int) -> list[Pair]:
        a, b = self._places.values()
        order = random.Random(seed)  # of the standard library: the same on every machine
        paired = all(run.paired for run in self.runs.values())
        chosen = [(item, item) for item in sorted(set(a) & set(b))] if paired else _met(a, b, order)
        if not chosen:
            raise HarnessError(
                "the two runs have no image of the same prompt"
                + (" and seed: generate both with the same prompts and seeds" if paired else "")
            )
        order.shuffle(chosen)
        pairs = []
        for item, other in chosen:
            if a[item].prompt != b[other].prompt:
                raise HarnessError(f"item {item!r} is not of the same prompt in the two runs")
            settled = _settled(a[item].failed, b[other].failed)
            pairs.append(Pair(item, other, a[item].prompt, order.choice([*self.runs]), settled))
        return pairs

    @property
    def done(self) -> int:
        """The number of pairs with a vote."""
        return sum(_key(pair) in self._votes for pair in self.pairs)

    @property
    def next(self) -> int | None:
        """The place of the first pair without a vote; None at the end."""
        left = (at for at, pair in enumerate(self.pairs) if _key(pair) not in self._votes)
        return next(left, None)

    def vote(self, at: int, choice: str) -> None:
        """Keep `choice` (left, right or tie) for the pair at a place; a later one replaces it."""
        pair = self.pairs[at]
        self._keep(pair, choice if choice == "tie" else pair.on(choice))
        self._settle()
        self._save()

    def undo(self) -> None:
        """Take the last vote back."""
        settled = {_key(pair) for pair in self.pairs if pair.settled}
        kept = list(self._votes)
        while kept and kept.pop() in settled:
            pass
        self._votes = {key: self._votes[key] for key in kept}
        self._settle()
        self._save()

    def _keep(self, pair: Pair, winner: str) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._votes.pop(_key(pair), None)
        self._votes[_key(pair)] = Vote(
            *_key(pair), *self._ids, winner, pair.left, self.rater, now, self.question
        )

    def _settle(self) -> None:
        """Decide the pairs at the front that need no vote."""
        while (at := self.next) is not None and (winner := self.pairs[at].settled):
            self._keep(self.pairs[at], winner)

    def _save(self) -> None:
        write_votes(self.path, list(self._votes.values()))

    def image(self, at: int, side: str) -> bytes | Broken:
        """The picture on a side of the pair at a place."""
        pair = self.pairs[at]
        role = pair.on(side)
        item = pair.item_id if role == "candidate" else pair.other_id
        place = self._places[role][item]
        return _rows(self.runs[role], place.shard)[place.row].read()


def _key(pair: Pair) -> tuple[str, str]:
    return pair.item_id, pair.other_id


def _settled(a_failed: bool, b_failed: bool) -> str | None:
    if a_failed and b_failed:
        return "tie"
    return "baseline" if a_failed else "candidate" if b_failed else None


def _met(
    a: dict[str, _Place], b: dict[str, _Place], random: random.Random
) -> list[tuple[str, str]]:
    """Images of the same prompt, which is of the same text, drawn at random, each at most once."""
    ids = {place.prompt: place.prompt_id for place in a.values() if place.prompt.strip()}
    sides = []
    for places in (a, b):
        by_prompt: dict[str, list[str]] = {}
        for item in sorted(places):
            prompt = ids.get(places[item].prompt, places[item].prompt_id)
            by_prompt.setdefault(prompt, []).append(item)
        sides.append(by_prompt)
    met: list[tuple[str, str]] = []
    for prompt in sorted(set(sides[0]) & set(sides[1])):
        ours, theirs = (random.sample(side[prompt], len(side[prompt])) for side in sides)
        met += zip(ours, theirs, strict=False)
    return met


def _places(run: Run) -> dict[str, _Place]:
    """The place of every distinct image by item, failed ones included."""
    columns = ["item_id", "prompt_id", "prompt", "seed", "failed"]
    held = run.read_all("images", run.shards(), columns)
    images, distinct = one_prompt_a_text(run, held.table)
    every = (
        (shard, row) for shard, n in zip(held.names, held.counts, strict=True) for row in range(n)
    )
    at = compress(every, distinct)
    return {
        image["item_id"]: _Place(
            *place, image["prompt_id"], image["prompt"] or "", image["failed"] is not None
        )
        for place, image in zip(at, images.to_pylist(), strict=True)
    }


@lru_cache(maxsize=8)
def _rows(run: Run, shard: str) -> list[ImageRow]:
    return image_rows(run, shard)
