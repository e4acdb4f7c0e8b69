"""Runs made by hand: a table of items with their scores, tiny pictures, no model."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from harness.core.call import Call
from harness.core.run_spec import RunSpec
from harness.core.shards import item_id
from harness.store.run import Run
from harness.store.schema import GUIDANCE, IMAGES, TIMING
from harness.store.scores import write_scores


@dataclass(frozen=True)
class Item:
    """One image and its scores (None: undefined); a reason in `failed` means no picture."""

    prompt_id: str
    seed: int = 0
    scores: dict[str, float | None] = field(default_factory=dict)
    prompt: str | None = None
    category: str = ""
    failed: str | None = None

    @property
    def text(self) -> str:
        return f"prompt {self.prompt_id}" if self.prompt is None else self.prompt


def picture(text: str, sharp: float, side: int = 64) -> bytes:
    """A PNG of a disc whose colour comes from the text; `sharp` in [0, 1] is its size."""
    rng = np.random.default_rng(zlib.crc32(text.encode()))
    hue = tuple(int(value) for value in rng.integers(40, 220, 3))
    image = Image.new("RGB", (side, side), (235, 230, 218))
    reach = side * (0.12 + 0.3 * sharp)
    x, y = rng.uniform(0.4, 0.6, 2) * side
    ImageDraw.Draw(image).ellipse((x - reach, y - reach, x + reach, y + reach), fill=hue)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def make_run(
    path: str,
    items: Sequence[Item],
    sampler: Call | None = None,
    nfe: dict[str, int] | None = None,
    seconds: float | None = 0.5,
    side: int = 64,
    noise_key: str = "prompt",
    identity: str = "version 1",
    shard_size: int = 1000,
    guidance: float | None = None,
) -> Run:
    """Write a run in shards of `shard_size`; every metric that the first item names is scored.

    `guidance` is the nominal scale of all images, of one step.
    """
    sampler = sampler or Call("ddim", {"steps": 20})
    spec = RunSpec("shapes", sampler, (side, side), "float32", noise_key)
    run = Run.create(path, spec, {"threads": 1, "device": "cpu"}, {"torch": "2.9", "commit": "abc"})
    for index, at in enumerate(range(0, len(items), shard_size)):
        name, part = f"part-00000-{index:05d}", items[at : at + shard_size]
        key = write_images(run, name, part, nfe or {"cond": 20, "uncond": 20}, side, guidance)
        if guidance is not None:
            curve = {"sigma": [14.6], "travel": [14.6], "scale": [guidance], "push": [1.0]}
            rows = [{"item_id": item_id(i.prompt_id, i.seed), **curve} for i in part]
            run.write("guidance", name, pa.Table.from_pylist(rows, GUIDANCE), key)
        if seconds is not None:
            timing = {"shard": name, "images": len(part), "device": "cpu", "threads": 1}
            table = pa.Table.from_pylist([{**timing, "seconds": seconds * len(part)}], TIMING)
            run.write("timing", name, table, key)
        for metric in part[0].scores:
            score(run, name, metric, part, {"items": key, "identity": identity})
    return run


def write_images(
    run: Run,
    shard: str,
    items: Sequence[Item],
    nfe: dict[str, int],
    side: int,
    guidance: float | None = None,
) -> str:
    """Write a shard of images and return its key, which changes with the items."""
    rows: list[dict[str, Any]] = []
    for item in items:
        sharp = float(next(iter(item.scores.values()), 0.5) or 0.0)
        png = None if item.failed else picture(item.text, min(1.0, max(0.0, sharp)), side)
        branches = [
            {"network": "unet", "branch": name, "evaluations": n} for name, n in nfe.items()
        ]
        rows.append(
            {
                "item_id": item_id(item.prompt_id, item.seed),
                "prompt_id": item.prompt_id,
                "prompt": item.text,
                "category": item.category,
                "notes": "{}",
                "seed": item.seed,
                "image": png and {"bytes": png, "path": None},
                "width": side,
                "height": side,
                "failed": item.failed,
                "nfe": sum(nfe.values()),
                "nfe_by_branch": branches,
                "guidance_scale": guidance,
            }
        )
    key = str([(row["item_id"], row["prompt"]) for row in rows])
    run.write("images", shard, pa.Table.from_pylist(rows, IMAGES), key)
    return key


def score(
    run: Run, shard: str, metric: str, items: Sequence[Item], metadata: dict[str, str]
) -> None:
    """Write a shard of scores, as the evaluator does."""
    values = [None if item.failed else item.scores.get(metric) for item in items]
    reasons = [
        f"failed: {item.failed}" if item.failed else None if value is not None else "no demand"
        for item, value in zip(items, values, strict=True)
    ]
    ids = [item_id(item.prompt_id, item.seed) for item in items]
    write_scores(run, metric, shard, ids, values, reasons, metadata)
