"""Scored items of runs, and their pairing by prompt and seed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.comparison.prompt_scores import prompt_identity, prompt_scores
from harness.comparison.statistics import Codes
from harness.core.errors import HarnessError
from harness.core.outcome import outcome
from harness.metrics.base import PromptMetric
from harness.store.comparison_tables import MetricInfo
from harness.store.result_columns import PAIRS
from harness.store.results import typed
from harness.store.run import Run
from harness.store.scores import Selection, select
from harness.store.votes import HUMAN

_ITEM = ["item_id", "prompt_id", "prompt", "category", "seed", "failed", "nfe"]
_MOST_CROSSED = 10_000_000


@dataclass(frozen=True)
class Joined:
    """Pairs of items of two runs, one row each, and how many items of either have no partner.

    `prompt_id` is the candidate's, one for each text; `own_id` its image, without the partner.
    `prompts`, `seeds` and `categories` [items] number what the rows name, from 0; an item without a
    category has -1. `crossed`: all pairs of a prompt's images, whose noise differs.
    """

    items: pd.DataFrame
    a_alone: int
    b_alone: int
    prompts: Codes
    seeds: Codes
    categories: Codes
    category_names: list[str]
    crossed: bool

    @classmethod
    def of(cls, both: pd.DataFrame, a_alone: int, b_alone: int, crossed: bool) -> Joined:
        strings = ["item_id_a", "prompt_id", "prompt_a", "category_a", "failed_a", "failed_b"]
        both = both.astype(dict.fromkeys(strings, "string"))
        named = both["category_a"].where(both["category_a"] != "")
        categories, names = pd.factorize(named, sort=True)
        return cls(
            both,
            a_alone,
            b_alone,
            pd.factorize(both["prompt_id"])[0],
            pd.factorize(both["seed"])[0],
            categories,
            [str(name) for name in names],
            crossed,
        )


@dataclass(frozen=True)
class Scored:
    """A run's items without pictures, one row each, with `value:<metric>` and `reason:<metric>`.

    One text has one `prompt_id`, whatever the images' own are: see `Selection`.
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
    """Pair the items of two runs by their ids, which are of prompt and seed; columns get the
    endings `_a` and `_b`.

    Raises HarnessError if a prompt id stands for two texts, or the runs share no item.
    """
    both = a.merge(b, on="item_id", suffixes=("_a", "_b"), validate="one_to_one")
    _check_texts(both, names)
    if both.empty:
        raise HarnessError(
            f"{names[0]} and {names[1]} have no image in common: prompts and seeds are "
            f"{_span(a)} and {_span(b)}. {_remedy(a, b, names)}"
        )
    alone = len(a) - len(both), len(b) - len(both)
    both = both.rename(columns={"item_id": "own_id", "prompt_id_a": "prompt_id", "seed_a": "seed"})
    both = both.assign(item_id_a=both["own_id"], item_id_b=both["own_id"], b_seed=pd.NA)
    return Joined.of(both, *alone, crossed=False)


def cross(a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str]) -> Joined:
    """Pair every item of a prompt with all of the other run's, for runs of different noise.

    Prompts are the same where their texts are. Otherwise as `join`; the mean of a prompt's outcomes
    is then the share of wins of two images drawn independently (Mann and Whitney 1947), and that of
    its differences that of its means.
    """
    ids = [frame.drop_duplicates(["prompt_id", "prompt"]) for frame in (a, b)]
    _check_texts(ids[0].merge(ids[1], on="prompt_id", suffixes=("_a", "_b")), names)
    a, b = (frame.assign(text=_texts(frame), own_prompt=_own_prompt(frame)) for frame in (a, b))
    counts = [frame["text"].value_counts() for frame in (a, b)]
    if (total := int((counts[0] * counts[1]).sum())) > _MOST_CROSSED:
        raise HarnessError(
            f"{names[0]} and {names[1]} are not paired, and all pairs of their images of a prompt "
            f"are {total:,}, more than {_MOST_CROSSED:,}: take fewer images a prompt"
        )
    both = a.merge(b, on="text", suffixes=("_a", "_b"))
    if both.empty:
        raise HarnessError(
            f"{names[0]} and {names[1]} have no prompt in common: prompts are {_span(a)} and "
            f"{_span(b)}. {_remedy(a, b, names)}"
        )
    columns = {"prompt_id_a": "prompt_id", "seed_a": "seed", "seed_b": "b_seed"}
    both = both.rename(columns=columns).assign(own_id=both["item_id_a"])
    alike = both["own_prompt_a"] == both["own_prompt_b"]
    other = ("seed " + both["b_seed"].astype(str)).where(alike, both["item_id_b"])
    both["item_id_a"] = both["own_id"] + " with " + other
    a_alone, b_alone = (
        int((~one["text"].isin(other["text"])).sum()) for one, other in ((a, b), (b, a))
    )
    return Joined.of(both, a_alone, b_alone, crossed=True)


def _texts(items: pd.DataFrame) -> pd.Series:
    """What makes two prompts the same: the text, or the id of a prompt without one."""
    texts = items["prompt"].fillna("")
    return texts.where(texts.str.strip() != "", "\0" + items["prompt_id"])


def _own_prompt(items: pd.DataFrame) -> pd.Series:
    """The items' own prompt ids, of which a text may have several."""
    return items["item_id"].str.rsplit("/", n=1).str[0]


def _check_texts(both: pd.DataFrame, names: tuple[str, str]) -> None:
    other = both["prompt_a"].fillna("") != both["prompt_b"].fillna("")
    if other.any():
        row = both[other].iloc[0]
        own = row["prompt_id"] if "prompt_id" in row else row["item_id"].rpartition("/")[0]
        raise HarnessError(
            f"prompt {own!r} is not the same text in the two runs: "
            f"{_short(row['prompt_a'])} in {names[0]}, {_short(row['prompt_b'])} in {names[1]}. "
            f"Compare runs of the same prompt set; of images made elsewhere, {_AGAIN}"
        )


_AGAIN = "import them again with --prompts NAME, the prompt set of the other run"


def _remedy(a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, str]) -> str:
    """What to do about runs that have nothing in common."""
    for frame, name in zip((a, b), names, strict=True):
        if not frame["prompt"].fillna("").str.strip().any():
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


def outcomes(joined: Joined, metric: MetricInfo, comparison: str) -> pd.DataFrame:
    """The outcomes of all pairs on one metric, with columns as in `store.results.PAIRS`.

    The better value wins, equal values tie; a failed image loses, two failed tie. Where both sides
    have a picture and one has no score, the pair is left out (null, with the reason). So is a pair
    without a vote, failed or not: see `arena.Ballot`.
    """
    items = joined.items
    a, b = items[f"value:{metric.name}_a"], items[f"value:{metric.name}_b"]
    a_failed, b_failed = items["failed_a"].notna(), items["failed_b"].notna()
    stands = b_failed.astype(float) - a_failed.astype(float)  # 1: the baseline's alone failed
    ahead = np.where(a_failed | b_failed, stands, metric.sign * (a - b))
    decided = pd.Series(outcome(ahead), items.index)
    if metric == HUMAN:
        decided = decided.where(a.notna())
    reasons = items[f"reason:{metric.name}_a"].where(a.isna(), items[f"reason:{metric.name}_b"])
    return typed(
        {
            "comparison": comparison,
            "metric": metric.name,
            "item_id": items["item_id_a"],
            "prompt_id": items["prompt_id"],
            "prompt": items["prompt_a"],
            "category": items["category_a"],
            "seed": items["seed"],
            "b_seed": items["b_seed"],
            "a_value": a.where(~a_failed),
            "b_value": b.where(~b_failed),
            "a_failed": items["failed_a"],
            "b_failed": items["failed_b"],
            "outcome": decided,
            "left_out": reasons.fillna("no score").where(decided.isna()),
        },
        PAIRS,
    )
