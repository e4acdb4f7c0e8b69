"""Scored items of runs, and their pairing by prompt and seed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.comparison.joined import Joined, Rows
from harness.comparison.prompt_scores import prompt_identity, prompt_scores
from harness.comparison.statistics import Codes
from harness.core.errors import HarnessError
from harness.metrics.base import PromptMetric
from harness.store.comparison_tables import MetricInfo
from harness.store.run import Run
from harness.store.scores import Selection, select
from harness.store.text_columns import coded, place, places, texts

_ITEM = ["item_id", "prompt_id", "prompt", "category", "seed", "failed", "nfe"]
_MOST_CROSSED = 10_000_000


@dataclass(frozen=True)
class Scored:
    """A run's items without pictures, one row each, with `value:<metric>` and `reason:<metric>`.

    Texts but for `item_id` are held once, see text_columns.py. One text has one `prompt_id`,
    whatever the images' own are: see `Selection`.
    `identities` are hashes, by metric, of the version and weights that gave the scores.
    """

    selection: Selection
    items: pd.DataFrame
    identities: dict[str, str]


def read_items(
    run: Run,
    metrics: Sequence[MetricInfo],
    wanted: Collection[str] | None = None,
    by_prompt: Mapping[str, PromptMetric] | None = None,
) -> Scored:
    """Read the items of `run` that `wanted` names (None: all) with their scores.

    Those of the metrics `by_prompt` are computed from features, of the wanted items only.

    Raises HarnessError if the run lacks some of them or holds one twice, and if scores are missing,
    of other images than the run holds now, or of several versions of a metric.
    """
    selection = select(run, wanted)
    items = selection.frame(_ITEM)
    if (twice := items.duplicated("item_id")).any():
        row = items[twice].iloc[0]
        raise HarnessError(
            f"{run.path} holds prompt {row['prompt_id']!r} at seed {row['seed']} twice: its shards "
            "come from different prompt sets. Make the run anew in an empty folder"
        )
    identities: dict[str, str] = {}
    scores: list[pd.DataFrame] = []
    for name in (metric.name for metric in metrics):
        if computed := (by_prompt or {}).get(name):
            identities[name] = prompt_identity(selection, computed)
            frame = prompt_scores(selection, computed)
        else:
            frame, identities[name] = selection.scores(name)
        scores.append(frame.add_suffix(f":{name}"))
    return Scored(selection, pd.concat([items, *scores], axis=1), identities)


def check_same_metrics(a: Scored, b: Scored) -> None:
    """Raise HarnessError where two runs were scored by different versions of a metric."""
    for metric, identity in a.identities.items():
        if identity != b.identities.get(metric, identity):
            raise HarnessError(
                f"{a.selection.run.path} and {b.selection.run.path} were scored on {metric!r} by "
                "different versions, or weights, of it: evaluate both first (harness evaluate)"
            )


def join(a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str]) -> Joined:
    """Pair the items of two runs by their ids, which are of prompt and seed.

    Raises HarnessError if a prompt id stands for two texts, or the runs share no item.
    """
    rows = same_items(a, b)
    joined = Joined(a, b, *rows)
    _check_texts(joined, names)
    if not len(joined):
        raise HarnessError(
            f"{names[0]} and {names[1]} have no image in common: prompts and seeds are "
            f"{_span(a)} and {_span(b)}. {_remedy(a, b, names)}"
        )
    return Joined(a, b, *rows, len(a) - len(joined), len(b) - len(joined))


def same_items(a: pd.DataFrame, b: pd.DataFrame) -> tuple[Rows, Rows]:
    """The rows of the items that both have, in the order of `a`."""
    ours, theirs = texts(a["item_id"]), texts(b["item_id"])
    if ours.equals(theirs):
        return slice(None), slice(None)
    at = places(ours, theirs)
    return np.flatnonzero(at >= 0), at[at >= 0]


def cross(a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str]) -> Joined:
    """Pair every item of a prompt with all of the other run's, for runs of different noise.

    Prompts are the same where their texts are. Otherwise as `join`; the mean of a prompt's outcomes
    is then the share of wins of two images drawn independently (Mann and Whitney 1947), and that of
    its differences that of its means.
    """
    ids = [frame.drop_duplicates(["prompt_id", "prompt"]) for frame in (a, b)]
    by_id = _equal(*(frame["prompt_id"].astype("str") for frame in ids))
    _check_texts(Joined(ids[0], ids[1], *by_id, crossed=True), names)
    keys = [_texts(frame) for frame in (a, b)]
    counts = [texts.value_counts() for texts in keys]
    if (total := int((counts[0] * counts[1]).sum())) > _MOST_CROSSED:
        raise HarnessError(
            f"{names[0]} and {names[1]} are not paired, and all pairs of their images of a prompt "
            f"are {total:,}, more than {_MOST_CROSSED:,}: take fewer images a prompt"
        )
    rows = _equal(*keys)
    if not len(rows[0]):
        raise HarnessError(
            f"{names[0]} and {names[1]} have no prompt in common: prompts are {_span(a)} and "
            f"{_span(b)}. {_remedy(a, b, names)}"
        )
    a_alone, b_alone = (int((~one.isin(other)).sum()) for one, other in (keys, keys[::-1]))
    return Joined(a, b, *rows, a_alone, b_alone, crossed=True)


def _equal(a: pd.Series, b: pd.Series) -> tuple[Codes, Codes]:
    """The rows of all pairs of equal values, in the order of `a`."""
    keys = [pd.DataFrame({"key": side.to_numpy(), "row": range(len(side))}) for side in (a, b)]
    both = keys[0].merge(keys[1], on="key", suffixes=("_a", "_b"))
    return both["row_a"].to_numpy(), both["row_b"].to_numpy()


def _texts(items: pd.DataFrame) -> pd.Series:
    """What makes two prompts the same: the text, or the id of a prompt without one."""
    prompts = _strings(items["prompt"])
    return prompts.where(prompts.str.strip() != "", "\0" + items["prompt_id"].astype("str"))


def _check_texts(joined: Joined, names: tuple[str, str]) -> None:
    """Raise HarnessError where the prompts of a pair are not the same text."""
    codes, known = _prompts(joined.of_a("prompt"))
    others, found = _prompts(joined.of_b("prompt"))
    other = np.flatnonzero(codes != np.append(places(found, known), -1)[others])
    if not len(other):
        return
    first = joined.part(other[0], other[0] + 1)
    own = first.of_a("item_id").iloc[0].rpartition("/")[0]
    if joined.crossed:
        own = first.of_a("prompt_id").iloc[0]
    here, there = (_short(_strings(of("prompt")).iloc[0]) for of in (first.of_a, first.of_b))
    raise HarnessError(
        f"prompt {own!r} is not the same text in "
        f"the two runs: {here} in {names[0]}, {there} in {names[1]}. "
        f"Compare runs of the same prompt set; of images made elsewhere, {_AGAIN}"
    )


def _prompts(column: pd.Series) -> tuple[Codes, Any]:
    """Texts as places in an array of the different ones; -1 for an empty one, or none."""
    codes, known = coded(column)
    return np.where(codes == place("", known), -1, codes), known


def _strings(column: pd.Series) -> pd.Series:
    return column.astype("str").fillna("")


_AGAIN = "import them again with --prompts NAME, the prompt set of the other run"


def _remedy(a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str]) -> str:
    """What to do about runs that have nothing in common."""
    for frame, name in zip((a, b), names, strict=True):
        if not _strings(frame["prompt"]).str.strip().any():
            return f"The images of {name} have no prompts: {_AGAIN}"
    if _texts(a).isin(_texts(b)).any():
        return (
            "Some texts are the same, under other ids or at other seeds. If one of the runs is of "
            f"images made elsewhere, {_AGAIN}; else generate both with the same prompts and seeds"
        )
    return (
        "Generate both with the same prompts and seeds, or, of images made elsewhere, say which "
        "prompt is whose with --prompts"
    )


def _short(text: str, limit: int = 80) -> str:
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def _span(items: pd.DataFrame) -> str:
    seeds = sorted(items["seed"].unique())
    return (
        f"{items['prompt_id'].nunique()} prompts ({items['prompt_id'].iloc[0]!r}, ...) "
        f"at seeds {seeds[0]} to {seeds[-1]}"
    )
