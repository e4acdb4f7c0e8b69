"""Writes a made shard: its pictures as PNG, its guidance and its times."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from harness.core.shards import Shard
from harness.runs.devices import device_name
from harness.runs.finishing import Made
from harness.runs.folder import Settings
from harness.store.rows import guidance_table, image_table, timing_table
from harness.store.run import Run


def write_shard(run: Run, shard: Shard, batches: Sequence[Made], settings: Settings) -> None:
    pngs: list[bytes | None] = []
    failed: list[str | None] = []
    classes: list[int | None] = []
    evaluations: list[dict[tuple[str, str], int]] = []
    for batch in batches:
        pngs += [None if png is None else png.result() for png in batch.pngs]
        failed += batch.failed
        classes += batch.classes or [None] * len(batch.failed)
        evaluations += [
            {key: counts[row] for key, counts in batch.evaluations.items()}
            for row in range(len(batch.failed))
        ]
    timed = [(len(batch.failed), batch.seconds) for batch in batches]
    timing = timing_table(shard, timed, device_name(settings.device), settings.threads)
    run.write("timing", shard.name, timing, shard.items_key)
    known = [batch.guidance for batch in batches if batch.guidance]
    scales: list[float | None] = [run.spec.declared_guidance] * len(pngs)
    if known:
        run.write("guidance", shard.name, guidance_table(shard, known), shard.items_key)
        scales = [float(s) if isfinite(s) else None for batch in known for s in batch.mean]
    table = image_table(shard, pngs, failed, evaluations, batches[0].size, classes, scales)
    run.write("images", shard.name, table, shard.items_key)
