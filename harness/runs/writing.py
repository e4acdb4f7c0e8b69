"""Writes a made shard: its pictures as PNG, its guidance and its times."""

from __future__ import annotations

import io
from collections.abc import Sequence
from math import isfinite

import torch

from harness.core.shards import Shard
from harness.runs.devices import device_name
from harness.runs.folder import Settings
from harness.runs.maker import Made
from harness.store.rows import guidance_table, image_table, timing_table
from harness.store.run import Run


def write_shard(run: Run, shard: Shard, batches: Sequence[Made], settings: Settings) -> None:
    pngs: list[bytes | None] = []
    failed: list[str | None] = []
    classes: list[int | None] = []
    evaluations: list[dict[tuple[str, str], int]] = []
    for batch in batches:
        for row, reason in enumerate(batch.failed):
            pngs.append(None if reason else _png(batch.pixels[row]))
            failed.append(reason)
            classes.append(batch.classes[row] if batch.classes else None)
            evaluations.append({key: counts[row] for key, counts in batch.evaluations.items()})
    timed = [(len(batch.failed), batch.seconds) for batch in batches]
    timing = timing_table(shard, timed, device_name(settings.device), settings.threads)
    run.write("timing", shard.name, timing, shard.items_key)
    size = (batches[0].pixels.shape[2], batches[0].pixels.shape[3])
    known = [batch.guidance for batch in batches if batch.guidance]
    scales: list[float | None] = [run.spec.declared_guidance] * len(pngs)
    if known:
        run.write("guidance", shard.name, guidance_table(shard, known), shard.items_key)
        scales = [float(s) if isfinite(s) else None for batch in known for s in batch.mean]
    table = image_table(shard, pngs, failed, evaluations, size, classes, scales)
    run.write("images", shard.name, table, shard.items_key)


def _png(pixels: torch.Tensor) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(buffer, "PNG")
    return buffer.getvalue()
