"""Set scores, such as FID, of runs from stored features, with jackknife intervals."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.core.errors import HarnessError
from harness.metrics.base import SetMetric, make_metric
from harness.metrics.set_statistics import BLOCKS, Statistic, deal, delete_one, jackknife
from harness.metrics.undefined import Undefined
from harness.store import scores
from harness.store.run import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SetScore:
    """A set metric's value over `n` images of a run; `excluded` more had no features (failed).

    `value`, or `low` and `high` (a 95 % jackknife interval at this n), are None where undefined,
    for the reasons given. `identity` changes with the version and the weights of the encoder:
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
    selection, encoder = scores.select(run, items), made.features.label
    identity = selection.identity(f"features/{encoder}")
    features, valid = selection.features(encoder)
    rows = selection.frame(["item_id", "prompt_id", "seed"])[valid]
    n = len(features)
    if n < made.enough:
        _warn_few(n, made.enough)
    score = partial(
        SetScore,
        str(made.call),
        n=n,
        excluded=int((~valid).sum()),
        identity=identity,
        items=_hash(rows["item_id"]),
    )
    value = statistic.value(statistic.gather(features)) if n else Undefined("there are no images")
    if isinstance(value, Undefined):
        return score(value=None, reason=value.reason, interval_reason=value.reason)
    left_out = _left_out(statistic, features, rows)
    if isinstance(left_out, Undefined):
        return score(value=value, interval_reason=left_out.reason)
    low, high = jackknife(value, left_out)
    least, most = made.about.range
    return score(
        value=value, low=max(low, least), high=min(high, most), left_out=tuple(left_out.tolist())
    )


def _left_out(
    statistic: Statistic[Any], features: NDArray[Any], rows: pd.DataFrame
) -> NDArray[np.float64] | Undefined:
    """Values with each block of prompts, or else of seeds, left out; Undefined with too few."""
    blocks = deal(rows["prompt_id"].fillna("").tolist())
    blocks = deal(rows["seed"].astype(str).tolist()) if blocks is None else blocks
    if blocks is None:
        return Undefined(f"no interval: fewer than {BLOCKS} prompts and fewer than {BLOCKS} seeds")
    return delete_one(statistic, [statistic.gather(features[blocks == at]) for at in range(BLOCKS)])


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
    values = []
    for seeds in ranges:
        if absent := sorted(set(seeds).difference(held["seed"])):
            raise HarnessError(
                f"{run.path} lacks seed {absent[0]} and {len(absent) - 1:,} more of those asked "
                "for: generate them first"
            )
        values.append(set_score(run, metric, held["item_id"][held["seed"].isin(seeds)].tolist()))
    return values


@lru_cache
def _warn_few(n: int, enough: int) -> None:
    """Warn of biased set scores, once for each number of images."""
    log.warning(
        "%s images are few for metrics of whole sets, such as FID: below %s their bias is large; "
        "compare each with nothing but itself at the same number of images",
        f"{n:,}",
        f"{enough:,}",
    )


def _hash(ids: Iterable[str]) -> str:
    """A hash of a set of item ids, whatever their order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:16]
