"""From stored features to one number of a run, with its interval."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.metrics.base import SetMetric, Undefined, make_metric
from harness.metrics.statistics import BLOCKS, deal, jackknife
from harness.store import scores
from harness.store.run import Run


@dataclass(frozen=True)
class SetScore:
    """One number of a run's `n` images; `excluded` more had no features (failed images).

    `value`, or `low` and `high` (a 95 % jackknife interval at this n), are None where undefined,
    and the reasons say why.
    """

    metric: str
    value: float | None
    n: int
    excluded: int
    low: float | None
    high: float | None
    reason: str | None = None
    interval_reason: str | None = None


def set_score(run: Run, metric: str | SetMetric, items: Collection[str] | None = None) -> SetScore:
    """A set metric's value over a run, or over those of its items that `items` names.

    Reads feature shards only: no images, no torch. Raises HarnessError if features are missing or
    of another state of the images (evaluate first), and if the metric is an item metric.
    """
    made = make_metric(metric) if isinstance(metric, str) else metric
    if not isinstance(made, SetMetric):
        raise HarnessError(f"{made.name} gives one number an image: it has no set score")
    statistic = made.statistic()
    wanted = None if items is None else set(items)
    features, prompts, seeds, excluded = _features(run, made.features.label, wanted)
    label, n = str(made.call), len(features)
    value = statistic.value(statistic.gather(features)) if n else Undefined("there are no images")
    if isinstance(value, Undefined):
        return SetScore(label, None, n, excluded, None, None, value.reason, value.reason)
    blocks = deal(prompts)
    blocks = deal(seeds) if blocks is None else blocks
    if blocks is None:
        reason = f"no interval: fewer than {BLOCKS} prompts and fewer than {BLOCKS} seeds"
        return SetScore(label, value, n, excluded, None, None, None, reason)
    states = [statistic.gather(features[blocks == block]) for block in range(BLOCKS)]
    interval = jackknife(statistic, states, value)
    if isinstance(interval, Undefined):
        return SetScore(label, value, n, excluded, None, None, None, interval.reason)
    least, most = made.about.range
    low, high = max(interval[0], least), min(interval[1], most)
    return SetScore(label, value, n, excluded, low, high)


def _features(
    run: Run, encoder: str, wanted: set[str] | None
) -> tuple[np.ndarray[Any, Any], list[str], list[str], int]:
    """Features [n, F], their prompt ids and seeds, and the number of items that have none."""
    parts: list[np.ndarray[Any, Any]] = []
    prompts: list[str] = []
    seeds: list[str] = []
    excluded, stale, identities = 0, 0, set()
    shards = run.shards("images")
    if not shards:
        raise HarnessError(f"{run.path} holds no images: generate them first")
    for shard in shards:
        stored = scores.metadata(run, f"features/{encoder}", shard)
        identities.add(stored.get("identity"))
        if stored.get("items") != scores.images_key(run, shard):
            stale += 1
            continue
        ids, kept, valid = scores.read_features(run, encoder, shard)
        known = run.read("images", shard, ["item_id", "prompt_id", "seed"]).to_pylist()
        asked = np.array([wanted is None or item in wanted for item in ids])
        excluded += int((asked & ~valid).sum())
        parts.append(kept[asked[valid]])
        rows = [row for row, use in zip(known, asked & valid, strict=True) if use]
        prompts += [row["prompt_id"] or "" for row in rows]
        seeds += [str(row["seed"]) for row in rows]
    if stale or len(identities) != 1:
        raise HarnessError(
            f"{run.path}: features of {encoder} are missing or outdated for "
            f"{stale or 'some'} of {len(shards)} shards: evaluate the run first"
        )
    return np.concatenate(parts), prompts, seeds, excluded
