"""What it costs a metric to score one picture."""

from __future__ import annotations

from collections.abc import Iterator

from harness.core.errors import HarnessError
from harness.metrics.base import ItemMetric
from harness.metrics.encoders import ItemRow
from harness.store.pictures import Broken, decode
from harness.store.run import Run
from harness.store.scores import ImageRow, image_rows


def picture_macs(run: Run, metric: ItemMetric) -> tuple[float | None, str | None]:
    """Multiply-accumulates of scoring one picture of `run`, or null and the reason.

    Those of matrix products, convolutions and attention, by torch's flop counter, as the samplers'
    are counted. A prompt is embedded once for all its pictures and is not counted.
    """
    try:
        metric.check()
        for row in _pictures(run):
            if (counted := _counted(metric, row)) is not None:
                return _known(metric, counted)
    except HarnessError as error:
        return None, str(error)
    return None, f"{metric.name} scores none of the run's first pictures"


def _known(metric: ItemMetric, counted: float) -> tuple[float | None, str | None]:
    if metric.family and not counted:
        return None, f"the multiply-accumulates of {metric.name}'s network cannot be counted"
    return counted, None


def _pictures(run: Run) -> Iterator[ImageRow]:
    """The rows of the run's first shard."""
    for shard in run.shards("images")[:1]:
        yield from image_rows(run, shard)


def _counted(metric: ItemMetric, image: ImageRow) -> float | None:
    """The multiply-accumulates of scoring this picture; None where it cannot be scored."""
    data = image.read()
    pixels = data if isinstance(data, Broken) else decode(data)
    row = ItemRow(image.prompt, image.category, image.notes, image.prompt_id, image.seed)
    if isinstance(pixels, Broken):
        return None
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    metric.load("cpu")
    if metric.unsuitable(row, (pixels.shape[1], pixels.shape[2])):
        return None
    metric.prepare([row.prompt])
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        metric.score(torch.from_numpy(pixels)[None], [row])
    return counter.get_total_flops() / 2
