"""What metrics make of one image shard: a job each, on batches they have in common."""

from __future__ import annotations

import io
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.metrics.base import Encoder, FeatureMetric, ItemMetric, ItemRow, Metric, Undefined
from harness.store import scores
from harness.store.run import Run
from harness.store.scores import ImageRow

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


class Job(ABC):
    """A metric's or an encoder's work on shards, and the folder that holds its results."""

    def __init__(self, kind: str, worker: ItemMetric | Encoder) -> None:
        self.kind = kind
        self.worker = worker
        self.made_by = {
            "call": str(worker.call),
            "weights": worker.weights(),
            "identity": worker.identity(),
        }

    def done(self, run: Run, shard: str, items: str) -> bool:
        """Whether the stored shard is of these items and of this metric as it is now."""
        stored = scores.metadata(run, self.kind, shard)
        return stored.get("items") == items and stored.get("identity") == self.made_by["identity"]

    def unsuitable(self, row: ItemRow, size: tuple[int, int]) -> str | None:
        return self.worker.unsuitable(row, size)

    def begin(self, rows: Sequence[ItemRow]) -> int:
        """Get ready for a shard's rows; the number of them whose prompt will be truncated."""
        return 0

    @abstractmethod
    def compute(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Sequence[Any]:
        """A result or Undefined for each image."""

    @abstractmethod
    def write(
        self,
        run: Run,
        shard: str,
        items: list[str],
        values: list[Any],
        reasons: list[str | None],
        metadata: dict[str, str],
    ) -> None:
        """Store a whole shard; where there is a reason, the value is None."""


class _Scores(Job):
    def __init__(self, metric: ItemMetric) -> None:
        super().__init__(f"scores/{metric.label}", metric)
        self.metric = metric
        self.truncates: dict[str, bool] = {}  # prompts that were prepared

    def unsuitable(self, row: ItemRow, size: tuple[int, int]) -> str | None:
        if self.metric.about.needs_prompts and not row.prompt.strip():
            return "there is no prompt"
        return super().unsuitable(row, size)

    def begin(self, rows: Sequence[ItemRow]) -> int:
        prompts = dict.fromkeys(row.prompt for row in rows if row.prompt.strip())
        new = [prompt for prompt in prompts if prompt not in self.truncates]
        self.metric.prepare(new)
        self.truncates |= {prompt: self.metric.truncates(prompt) for prompt in new}
        return sum(self.truncates.get(row.prompt, False) for row in rows)

    def compute(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Sequence[Any]:
        return [_finite(value) for value in self.metric.score(images, rows)]

    def write(
        self,
        run: Run,
        shard: str,
        items: list[str],
        values: list[Any],
        reasons: list[str | None],
        metadata: dict[str, str],
    ) -> None:
        scores.write_scores(run, self.metric.label, shard, items, values, reasons, metadata)


class _Features(Job):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__(f"features/{encoder.label}", encoder)
        self.encoder = encoder

    def compute(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Sequence[Any]:
        features = self.encoder.encode(images).float().cpu().numpy()
        return [
            row if np.isfinite(row).all() else Undefined("its features are not finite")
            for row in features
        ]

    def write(
        self,
        run: Run,
        shard: str,
        items: list[str],
        values: list[Any],
        reasons: list[str | None],
        metadata: dict[str, str],
    ) -> None:
        label, width = self.encoder.label, self.encoder.width
        scores.write_features(run, label, shard, items, values, reasons, width, metadata)


def make_jobs(metrics: Sequence[Metric]) -> list[Job]:
    """Each metric's job; metrics of one encoder's features have one job in common."""
    features: dict[str, Job] = {}
    jobs: list[Job] = []
    for metric in metrics:
        if isinstance(metric, FeatureMetric):
            encoder = metric.features
            jobs.append(features.setdefault(encoder.label, _Features(encoder)))
        elif isinstance(metric, ItemMetric):
            jobs.append(_Scores(metric))
    return jobs


def _finite(value: float | Undefined) -> float | Undefined:
    if isinstance(value, Undefined):
        return value
    if math.isfinite(value):
        return float(value)
    return Undefined(f"the metric gave {value}")


def do(run: Run, shard: str, key: str, jobs: list[Job], device: str, batch_size: int) -> None:
    """Compute and store what jobs make of a shard whose images have this key."""
    rows = scores.image_rows(run, shard)
    for job in jobs:
        job.worker.load(device)
    for job, (results, truncated) in zip(jobs, _compute(jobs, rows, batch_size), strict=True):
        undefined = [result if isinstance(result, Undefined) else None for result in results]
        job.write(
            run,
            shard,
            [row.item_id for row in rows],
            [None if none else result for none, result in zip(undefined, results, strict=True)],
            [none.reason if none else None for none in undefined],
            {**job.made_by, "items": key, "truncated": str(truncated)},
        )


def _compute(
    jobs: Sequence[Job], images: Sequence[ImageRow], batch_size: int
) -> list[tuple[list[Any], int]]:
    """For each job the result of every image, in order, and the number of truncated prompts.

    Images are decoded once for all jobs, and jobs that score the same images of a batch are given
    the same tensor, so that they can share an encoder's pass.
    """
    import torch

    rows = [ItemRow(i.prompt, i.category, i.notes, i.prompt_id, i.seed) for i in images]
    pictures = [_decode(image) for image in images]
    results: list[list[Any]] = [list(pictures) for _ in jobs]  # Undefined where there is no picture
    with torch.inference_mode():
        truncated = [job.begin(rows) for job in jobs]
        for size, chunk in _chunks(pictures, batch_size):
            tensors: dict[tuple[int, ...], torch.Tensor] = {}
            for job, result in zip(jobs, results, strict=True):
                fit = _fit(job, rows, size, chunk, result)
                if fit and fit not in tensors:
                    tensors[fit] = torch.from_numpy(np.stack([pictures[i] for i in fit]))
                values = _halving(job, tensors[fit], [rows[i] for i in fit]) if fit else []
                for i, value in zip(fit, values, strict=True):
                    result[i] = value
    return list(zip(results, truncated, strict=True))


def _fit(
    job: Job, rows: Sequence[ItemRow], size: tuple[int, int], chunk: list[int], result: list[Any]
) -> tuple[int, ...]:
    """The images of a batch that a job can score; the others are undefined in `result`."""
    reasons = {i: job.unsuitable(rows[i], size) for i in chunk}
    for i, reason in reasons.items():
        if reason:
            result[i] = Undefined(reason)
    return tuple(i for i, reason in reasons.items() if not reason)


def _halving(job: Job, images: torch.Tensor, rows: Sequence[ItemRow]) -> list[Any]:
    """A batch's results; a batch that does not fit into memory is halved."""
    import torch

    try:
        return list(job.compute(images, rows))
    except torch.cuda.OutOfMemoryError:
        if len(rows) == 1:
            raise
        half = len(rows) // 2
    log.warning("%s: out of memory at a batch of %d, halved", job.worker.name, len(rows))
    return [*_halving(job, images[:half], rows[:half]), *_halving(job, images[half:], rows[half:])]


def _chunks(
    pictures: Sequence[Any], batch_size: int
) -> Iterator[tuple[tuple[int, int], list[int]]]:
    """Size (height, width) and indices of batches: pictures of one size, in order."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for i, picture in enumerate(pictures):
        if not isinstance(picture, Undefined):
            by_size.setdefault(picture.shape[1:], []).append(i)
    for size, members in by_size.items():
        for at in range(0, len(members), batch_size):
            yield size, members[at : at + batch_size]


def _decode(row: ImageRow) -> Any:
    """The picture, uint8 [3, H, W], or Undefined. Reasons are the same on every machine."""
    from PIL import Image, UnidentifiedImageError

    if row.failed is not None:
        return Undefined(f"failed: {row.failed}")
    if row.png is None:
        return Undefined("the row holds no image")
    try:
        with Image.open(io.BytesIO(row.png)) as image:
            pixels = np.asarray(image.convert("RGB"))
    except UnidentifiedImageError:
        return Undefined("broken image: of no known format")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return Undefined(f"broken image: {error}")
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
