"""Cost of a run per image: counted network evaluations, measured seconds."""

from __future__ import annotations

import pandas as pd

from harness.store.comparison_tables import Cost
from harness.store.scores import Selection


def run_cost(selection: Selection, items: pd.DataFrame) -> Cost:
    """Mean network evaluations over the items with a count, and seconds from `timing/`.

    Seconds are known by shard: those of all images of the shards that hold some of the items.
    """
    counted = items["nfe"].dropna()
    n = len(counted)
    branches = selection.evaluations() if n else {}
    seconds, timed, device = _seconds(selection)
    ledger = selection.run.cost() or {}
    calls = ledger.get("calls")
    return Cost(
        nfe=float(counted.mean()) if n else None,
        nfe_images=n,
        nfe_by_branch={name: total / n for name, total in sorted(branches.items())},
        seconds=seconds,
        timed_images=timed,
        device=device,
        macs=ledger.get("picture"),
        calls=None if calls is None else int(calls),
        sigmas=(ledger["sigma_max"], ledger["sigma_min"]) if "sigma_max" in ledger else None,
    )


def _seconds(selection: Selection) -> tuple[float | None, int, str]:
    """Seconds per image, over how many images, on which devices (with threads)."""
    run = selection.run
    timed = [shard for shard in run.shards("timing") if shard in selection.rows]
    if not timed:
        return None, 0, "not timed"
    timing = run.frame("timing", ["images", "seconds", "device", "threads"], timed)
    where = timing[["device", "threads"]].drop_duplicates().sort_values(["device", "threads"])
    device = " and ".join(
        f"{row.device}, {row.threads} thread{'s' if row.threads != 1 else ''}"
        for row in where.itertuples()
    )
    images = int(timing["images"].sum())
    return (float(timing["seconds"].sum()) / images if images else None), images, device
