"""Human votes on pairs of images as a metric: an image's score is its share of the votes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from harness.comparison.joined import Joined
from harness.core.errors import HarnessError
from harness.core.outcome import LOSS, TIE, WIN, turned
from harness.store.comparison_tables import CANDIDATE
from harness.store.votes import HUMAN, Votes, all_votes

_SHARES = {"candidate": WIN, "tie": TIE, "baseline": LOSS}


def preferences(folder: str | Sequence[str], candidate: str, baseline: str) -> Votes:
    """The votes below `folder`, or several, on two runs (ids), in either order, as shares for the
    candidate."""
    folders = [folder] if isinstance(folder, str) else folder
    votes = pd.concat([all_votes(each) for each in folders], ignore_index=True)
    share = votes["winner"].map(_SHARES).astype(float)
    same = (votes["candidate"] == candidate) & (votes["baseline"] == baseline)
    other = (votes["candidate"] == baseline) & (votes["baseline"] == candidate)
    keys = ["item_id", "other_id"]
    swapped = votes[other].rename(columns=dict(zip(keys, keys[::-1], strict=True)))
    both = pd.concat([votes[same].assign(share=share), swapped.assign(share=turned(share))])
    shares = both.groupby(keys)["share"].mean()
    return {(str(item), str(other)): float(value) for (item, other), value in shares.items()}


def with_votes(sides: Mapping[str, pd.DataFrame], votes: Votes) -> dict[str, pd.DataFrame]:
    """The items of a candidate and its one baseline, with each item's share of votes as score."""
    if len(sides) != 2:
        raise HarnessError("votes are on two runs: compare with one baseline at a time")
    scored = {}
    for place, (name, frame) in enumerate(sides.items()):
        shares = pd.Series([*votes.values()], [images[place] for images in votes], float)
        shares = shares if name == CANDIDATE else turned(shares)
        values = frame["item_id"].map(shares.groupby(level=0).mean())
        scored[name] = frame.assign(**_scores(values))
    return scored


def voted(joined: Joined, votes: Votes) -> Joined:
    """The pairs with each pair's own votes as its scores: an image may be in several pairs."""
    keys = zip(joined.of_a("item_id"), joined.of_b("item_id"), strict=True)
    shares = pd.Series([votes.get(key) for key in keys], dtype=float)
    return replace(joined, votes=shares.to_numpy())


def _scores(values: pd.Series) -> dict[str, pd.Series]:
    reasons = pd.Series("no vote", values.index).where(values.isna())
    return {f"value:{HUMAN.name}": values.astype(float), f"reason:{HUMAN.name}": reasons}
