"""From stored features to one number of a run, with its interval."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from harness.core.errors import HarnessError
from harness.metrics.base import SetMetric, make_metric
from harness.metrics.set_statistics import BLOCKS, deal, delete_one, jackknife
from harness.metrics.undefined import Undefined
from harness.store import scores
from harness.store.run import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SetScore:
    """One number of a run's `n` images; `excluded` more had no features (failed images).

    `value`, or `low` and `high` (a 95 % jackknife interval at this n), are None where undefined,
    and the reasons say why. `identity` changes with the version and the weights of the encoder:
    scores of other identities cannot be set side by side. `left_out` are the values with one block
    left out, and `items` names exactly the images: scores of equal `items` have equal blocks.
    """

    metric: str
    value: float | None
    n: int
    excluded: int
    identity: str
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    interval_reason: str | None = None
    left_out: tuple[float, ...] = ()
    items: str | None = None


def set_score(run: Run, metric: str | SetMetric, items: Collection[str] | None = None) -> SetScore:
    """A set metric's value over a run, or over those of its items that `items` names.

    Reads feature shards only, no images; with `items`, only the shards that hold some.
    Raises HarnessError if features are missing, of another state of the images or of several
    versions of the encoder (evaluate first), if the run lacks items that are asked for, and if the
    metric gives one number an image.
    """
    made = make_metric(metric) if isinstance(metric, str) else metric
    if not isinstance(made, SetMetric):
        raise HarnessError(f"{made.name} gives one number an image: it has no set score")
    statistic = made.statistic()
    found = _read(run, made.features.label, items)
    n = len(found.rows)
    if n < made.enough:
        _warn_few(str(made.call), n, made.enough)
    score = partial(
        SetScore,
        str(made.call),
        n=n,
        excluded=found.excluded,
        identity=found.identity,
        items=found.items,
    )
    value = statistic.value(statistic.gather(found.rows)) if n else Undefined("there are no images")
    if isinstance(value, Undefined):
        return score(value=None, reason=value.reason, interval_reason=value.reason)
    blocks = deal(found.prompts)
    blocks = deal(found.seeds) if blocks is None else blocks
    if blocks is None:
        reason = f"no interval: fewer than {BLOCKS} prompts and fewer than {BLOCKS} seeds"
        return score(value=value, interval_reason=reason)
    states = [statistic.gather(found.rows[blocks == block]) for block in range(BLOCKS)]
    left_out = delete_one(statistic, states)
    if isinstance(left_out, Undefined):
        return score(value=value, interval_reason=left_out.reason)
    low, high = jackknife(value, left_out)
    least, most = made.about.range
    return score(
        value=value, low=max(low, least), high=min(high, most), left_out=tuple(left_out.tolist())
    )


def by_seed_range(
    run: Run, metric: str | SetMetric, ranges: Sequence[Sequence[int]]
) -> list[SetScore]:
    """A set metric's value over each of several disjoint ranges of a run's seeds.

    As papers do that give the minimum of three: a value each, of the same number of images. Raises
    HarnessError for fewer than three ranges, for ranges that share a seed or differ in length, and
    for seeds that the run lacks.
    """
    if len(ranges) < 3:
        raise HarnessError(f"{len(ranges)} seed ranges: mean and minimum take three or more")
    taken = [seed for seeds in ranges for seed in seeds]
    if len(set(taken)) < len(taken):
        raise HarnessError("seed ranges share a seed: their values would not be independent")
    if len({len(seeds) for seeds in ranges}) > 1:
        sizes = ", ".join(f"{len(seeds):,}" for seeds in ranges)
        raise HarnessError(f"seed ranges of {sizes} seeds: values at different N do not compare")
    held = scores.select(run, None).frame(["item_id", "seed"])
    found = []
    for seeds in ranges:
        if absent := sorted(set(seeds).difference(held["seed"])):
            raise HarnessError(
                f"{run.path} lacks seed {absent[0]} and {len(absent) - 1:,} more of those asked "
                "for: generate them first"
            )
        found.append(set_score(run, metric, held["item_id"][held["seed"].isin(seeds)].tolist()))
    return found


@lru_cache
def _warn_few(metric: str, n: int, enough: int) -> None:
    """Once for each metric and number."""
    log.warning(
        "%s over %d images: with fewer than %d its bias is large; compare it with nothing but "
        "the same metric at the same number of images",
        metric,
        n,
        enough,
    )


@dataclass(frozen=True)
class _RunFeatures:
    """Features [n, F], their prompt ids and seeds, and the number of items that have none.

    `items` is a hash of the ids of those that have some.
    """

    rows: np.ndarray[Any, Any]
    prompts: list[str]
    seeds: list[str]
    excluded: int
    identity: str
    items: str


def _read(run: Run, encoder: str, items: Collection[str] | None) -> _RunFeatures:
    selection = scores.select(run, items)
    identity = selection.identity(f"features/{encoder}")
    rows, valid = selection.features(encoder)
    known = selection.frame(["item_id", "prompt_id", "seed"])[valid]
    prompts = known["prompt_id"].fillna("").tolist()
    seeds = known["seed"].astype(str).tolist()
    ids = "\n".join(sorted(known["item_id"]))
    digest = hashlib.sha256(ids.encode()).hexdigest()[:16]
    return _RunFeatures(rows, prompts, seeds, int((~valid).sum()), identity, digest)
