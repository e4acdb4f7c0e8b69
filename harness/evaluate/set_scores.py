"""From stored features to one number of a run, with its interval."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
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
    and the reasons say why. `identity` changes with the version and the weights of the encoder:
    scores of other identities cannot be set side by side.
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


def set_score(run: Run, metric: str | SetMetric, items: Collection[str] | None = None) -> SetScore:
    """A set metric's value over a run, or over those of its items that `items` names.

    Reads feature shards only: no images, no torch; with `items`, only the shards that hold some.
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
    score = partial(SetScore, str(made.call), n=n, excluded=found.excluded, identity=found.identity)
    value = statistic.value(statistic.gather(found.rows)) if n else Undefined("there are no images")
    if isinstance(value, Undefined):
        return score(value=None, reason=value.reason, interval_reason=value.reason)
    blocks = deal(found.prompts)
    blocks = deal(found.seeds) if blocks is None else blocks
    if blocks is None:
        reason = f"no interval: fewer than {BLOCKS} prompts and fewer than {BLOCKS} seeds"
        return score(value=value, interval_reason=reason)
    states = [statistic.gather(found.rows[blocks == block]) for block in range(BLOCKS)]
    interval = jackknife(statistic, states, value)
    if isinstance(interval, Undefined):
        return score(value=value, interval_reason=interval.reason)
    least, most = made.about.range
    return score(value=value, low=max(interval[0], least), high=min(interval[1], most))


@dataclass(frozen=True)
class _Features:
    """Features [n, F], their prompt ids and seeds, and the number of items that have none."""

    rows: np.ndarray[Any, Any]
    prompts: list[str]
    seeds: list[str]
    excluded: int
    identity: str


def _read(run: Run, encoder: str, items: Collection[str] | None) -> _Features:
    selection = scores.select(run, items)
    identity = selection.identity(f"features/{encoder}")
    rows, valid = selection.features(encoder)
    known = selection.frame("images", ["prompt_id", "seed"])[valid]
    prompts = known["prompt_id"].fillna("").tolist()
    seeds = known["seed"].astype(str).tolist()
    return _Features(rows, prompts, seeds, int((~valid).sum()), identity)
