"""People's votes on pairs of images as a metric: the share of votes for an image is its score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from harness.comparison.pairs import Joined
from harness.core.errors import HarnessError
from harness.core.outcome import LOSS, TIE, WIN, turned
from harness.store.comparison_tables import CANDIDATE
from harness.store.votes import HUMAN, Votes, all_votes

_SHARES = {"candidate": WIN, "tie": TIE, "baseline": LOSS}


def preferences(folder: str, candidate: str, baseline: str) -> Votes:
    """The votes below `folder` on two runs (ids), those on them the other way round among them."""
    votes = all_votes(folder)
    share = votes["winner"].map(_SHARES).astype(float)
    same = (votes["candidate"] == candidate) & (votes["baseline"] == baseline)
    other = (votes["candidate"] == baseline) & (votes["baseline"] == candidate)
    keys = ["item_id", "other_id"]
    swapped = votes[other].rename(columns=dict(zip(keys, keys[::-1], strict=True)))
    both = pd.concat([votes[same].assign(share=share), swapped.assign(share=turned(share))])
    found = both.groupby(keys)["share"].mean()
    return {(str(item), str(other)): float(value) for (item, other), value in found.items()}


def with_votes(sides: Mapping[str, pd.DataFrame], votes: Votes) -> dict[str, pd.DataFrame]:
    """The items of a candidate and its one baseline with the shares of votes for each as scores."""
    if len(sides) != 2:
        raise HarnessError("votes are on two runs: compare with one baseline at a time")
    found = {}
    for place, (name, frame) in enumerate(sides.items()):
        shares = pd.Series([*votes.values()], [images[place] for images in votes], float)
        shares = shares if name == CANDIDATE else turned(shares)
        values = frame["item_id"].map(shares.groupby(level=0).mean())
        found[name] = frame.assign(**_scores(values))
    return found


def voted(joined: Joined, votes: Votes) -> Joined:
    """The pairs with their own votes as scores of both sides: images may be in several pairs."""
    items = joined.items
    own = items["prompt_id"] + "/" + items["seed"].astype(str)
    keys = zip(own, items["item_id_b"], strict=True)
    shares = pd.Series([votes.get(key) for key in keys], items.index, float)
    columns = {f"{key}_a": value for key, value in _scores(shares).items()}
    columns |= {f"{key}_b": value for key, value in _scores(turned(shares)).items()}
    return replace(joined, items=items.assign(**columns))


def _scores(values: pd.Series) -> dict[str, pd.Series]:
    reasons = pd.Series("no vote", values.index).where(values.isna())
    return {f"value:{HUMAN.name}": values.astype(float), f"reason:{HUMAN.name}": reasons}
