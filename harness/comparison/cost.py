"""Cost of a run per image: counted network evaluations, measured seconds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from harness.store.run import Run
from harness.store.run_facts import Cost
from harness.store.scores import Selection, select

_FEW_SHARDS = 64  # of more, each is a unit of time as good as a batch


def recorded_cost(run: Run, items: Collection[str] | None = None) -> Cost:
    """Cost over the items that `items` names (None: all)."""
    selection = select(run, items)
    return run_cost(selection, selection.frame(["nfe"]))


def run_cost(selection: Selection, items: pd.DataFrame) -> Cost:
    """Mean network evaluations over the items with a count, and seconds from `timing/`.

    Multiply-accumulates are priced by what was evaluated for all of them. Seconds are known by
    shard: those of all images of the shards that hold some of the items.
    """
    counted = items["nfe"].dropna()
    n = len(counted)
    branches = selection.evaluations() if n else {}
    by_branch = {name: total / n for name, total in sorted(branches.items())}
    seconds, timed, device = _seconds(selection)
    quartiles, batches = _spread(selection)
    ledger = selection.run.cost() or {}
    calls = ledger.get("calls")
    return Cost(
        nfe=float(counted.mean()) if n else None,
        nfe_images=n,
        nfe_by_branch=by_branch,
        seconds=seconds,
        timed_images=timed,
        device=device,
        macs=image_macs(ledger, by_branch),
        calls=None if calls is None else int(calls),
        sigmas=(ledger["sigma_max"], ledger["sigma_min"]) if "sigma_max" in ledger else None,
        nfe_least=int(counted.min()) if n else None,
        nfe_most=int(counted.max()) if n else None,
        rehearsed=ledger.get("rehearsed"),
        seconds_quartiles=quartiles,
        timed_batches=batches,
    )


def image_macs(ledger: Mapping[str, Any], evaluations: Mapping[str, float]) -> float | None:
    """Multiply-accumulates of an image with these mean `evaluations` by "network/branch".

    `ledger` is `Run.cost`. An evaluation of the main network costs what one picture's did, with
    what the sampler adds to it; those of further networks share the rest of the picture's cost.
    """
    picture, counted = ledger.get("picture"), ledger.get("evaluations")
    if not picture or not counted or not evaluations:
        return picture
    main, others = _of_networks(counted)
    now, others_now = _of_networks(evaluations)
    evaluation = ledger["evaluation"] if others or not main else picture / main
    other = (picture - main * evaluation) / others if others else evaluation
    return float(now * evaluation + others_now * other)


def _of_networks(evaluations: Mapping[str, float]) -> tuple[float, float]:
    """Evaluations of the main network, and of all others."""
    main = sum(count for name, count in evaluations.items() if name.startswith("main/"))
    return main, sum(evaluations.values()) - main


def _seconds(selection: Selection) -> tuple[float | None, int, str]:
    """Seconds per image, over how many images, on which devices (with threads)."""
    run = selection.run
    if not (timed := _timed(selection)):
        return None, 0, "not timed"
    timing = run.frame("timing", ["images", "seconds", "device", "threads"], timed)
    where = timing[["device", "threads"]].drop_duplicates().sort_values(["device", "threads"])
    device = " and ".join(
        f"{row.device}, {row.threads} thread{'s' if row.threads != 1 else ''}"
        for row in where.itertuples()
    )
    images = int(timing["images"].sum())
    return (float(timing["seconds"].sum()) / images if images else None), images, device


def _timed(selection: Selection) -> list[str]:
    return [shard for shard in selection.run.shards("timing") if shard in selection.rows]


def _spread(selection: Selection) -> tuple[tuple[float, float, float] | None, int]:
    """Quartiles of an image's seconds over batches, and their number; of many shards, over them."""
    if not (timed := _timed(selection)):
        return None, 0
    run = selection.run
    if len(timed) < _FEW_SHARDS:
        units = [unit for shard in timed for unit in _batches(run.frame("timing", None, [shard]))]
    else:
        frame = run.frame("timing", ["images", "seconds"], timed)
        units = list(zip(frame["images"], frame["seconds"], strict=True))
    images, seconds = np.array(units, np.float64).T
    each = np.repeat(seconds / images, images.astype(np.int64))
    low, middle, high = (float(q) for q in np.quantile(each, [0.25, 0.5, 0.75]))
    return (low, middle, high), len(units)


def _batches(timing: pd.DataFrame) -> list[tuple[int, float]]:
    """Images and seconds of a shard's batches; of an older version, of the shard."""
    row = timing.iloc[0]
    if (images := row.get("batch_images")) is not None:
        return list(zip(images, row["batch_seconds"], strict=True))
    return [(row["images"], row["seconds"])]
