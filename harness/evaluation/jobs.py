"""Jobs of metrics and encoders on image shards, which share batches and forward passes."""

from __future__ import annotations

import logging
import math
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.core.errors import HarnessError, first_line
from harness.evaluation.batches import PictureBatch
from harness.metrics.base import ItemMetric, Metric, named
from harness.metrics.encoders import Encoder, ItemRow
from harness.metrics.undefined import Undefined
from harness.store import scores
from harness.store.pictures import Broken, Unread
from harness.store.run import Run
from harness.store.scores import ImageRow

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


class MetricJob(ABC):
    """A metric or encoder that runs on shards, and the folder (`kind`) of its results."""

    def __init__(self, kind: str, worker: ItemMetric | Encoder) -> None:
        self.kind = kind
        self.worker = worker
        self.made_by = {
            "call": str(worker.call),
            "weights": worker.weights(),
            "identity": worker.identity(),
        }

    def done(self, run: Run, shard: str, items: str) -> bool:
        """Whether the stored shard is of these items and of the metric's current identity."""
        stored = scores.metadata(run, self.kind, shard)
        same = stored.get("items") == items and stored.get("identity") == self.made_by["identity"]
        if same and scores.of_held_pictures(run, shard, stored):
            return True
        if stored:
            run.read(self.kind, shard, [])  # raises where it is outdated as it is damaged
        return False

    def unsuitable(self, row: ItemRow, size: tuple[int, int]) -> str | None:
        return self.worker.unsuitable(row, size)

    def begin(self, rows: Sequence[ItemRow]) -> int:
        """Prepare the prompts of a shard's rows; returns how many of them are truncated."""
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


class _ScoringJob(MetricJob):
    def __init__(self, metric: ItemMetric) -> None:
        super().__init__(f"scores/{metric.label}", metric)
        self.metric = metric
        self.truncates: dict[str, bool] = {}  # by prompt, of those that are prepared

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


class _EncodingJob(MetricJob):
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
        scores.write_features(
            run, self.encoder.label, shard, items, values, reasons, self.encoder.width, metadata
        )


def make_jobs(metrics: Sequence[Metric]) -> list[MetricJob]:
    """Each metric's job; metrics of one encoder's features have one job in common."""
    features: dict[str, MetricJob] = {}
    jobs: list[MetricJob] = []
    for metric in metrics:
        if isinstance(metric, ItemMetric):
            jobs.append(_ScoringJob(metric))
        else:
            encoder = metric.features
            jobs.append(features.setdefault(encoder.label, _EncodingJob(encoder)))
    return jobs


def _finite(value: float | Undefined) -> float | Undefined:
    if isinstance(value, Undefined):
        return value
    if math.isfinite(value):
        return float(value)
    return Undefined(f"the metric gave {value}")


class ShardResults:
    """Results of jobs on one image shard, batch by batch; `key` is the hash of its images.

    Jobs that score the same images of a batch get the same tensor, so that they can share a forward
    pass.
    """

    def __init__(
        self,
        run: Run,
        shard: str,
        key: str,
        jobs: Sequence[MetricJob],
        rows: Sequence[ImageRow],
        broken: Mapping[int, Broken],
        device: str,
    ) -> None:
        import torch

        self.run, self.shard, self.key, self.jobs = run, shard, key, jobs
        self.items = [row.item_id for row in rows]
        self.rows = [ItemRow(i.prompt, i.category, i.notes, i.prompt_id, i.seed) for i in rows]
        self.results: list[list[Any]] = [[None] * len(rows) for _ in jobs]
        self.failed: dict[int, str] = {}  # files that cannot be read as images
        self._known = {at for at, row in enumerate(rows) if row.failed is not None}
        self._mark(broken)
        for job in jobs:
            with _naming(job):
                job.worker.load(device)
        with torch.inference_mode():
            self.truncated = [self._begun(job) for job in jobs]

    def _begun(self, job: MetricJob) -> int:
        with _naming(job):
            return job.begin(self.rows)

    def add(self, batch: PictureBatch[Any]) -> None:
        """Compute the jobs' results on a batch."""
        import torch

        pictures = dict(zip(batch.places, batch.pictures, strict=True))
        self._mark({at: one for at, one in pictures.items() if isinstance(one, Broken)})
        whole = {at: one for at, one in pictures.items() if not isinstance(one, Broken)}
        tensors: dict[tuple[int, ...], torch.Tensor] = {}
        with torch.inference_mode():
            for job, result in zip(self.jobs, self.results, strict=True):
                fit = self._fit(job, batch.size, whole, result)
                if fit and fit not in tensors:
                    tensors[fit] = torch.from_numpy(np.stack([whole[i] for i in fit]))
                values = _halving(job, tensors[fit], [self.rows[i] for i in fit]) if fit else []
                for i, value in zip(fit, values, strict=True):
                    result[i] = value

    def write(self) -> None:
        """Store the whole shard; imported files that are no pictures count as failed images."""
        if self.failed:
            self.run.fail_images(self.shard, self.failed)
        for job, results, truncated in zip(self.jobs, self.results, self.truncated, strict=True):
            undefined = [result if isinstance(result, Undefined) else None for result in results]
            job.write(
                self.run,
                self.shard,
                self.items,
                [None if none else result for none, result in zip(undefined, results, strict=True)],
                [none.reason if none else None for none in undefined],
                {**job.made_by, "items": self.key, "truncated": str(truncated)},
            )

    def _mark(self, broken: Mapping[int, Broken]) -> None:
        for at, file in broken.items():
            reason = file.reason
            if self.run.imported and at not in self._known and not isinstance(file, Unread):
                self.failed[at], reason = reason, f"failed: {reason}"
            for result in self.results:
                result[at] = Undefined(reason)

    def _fit(
        self, job: MetricJob, size: tuple[int, int], places: Iterable[int], result: list[Any]
    ) -> tuple[int, ...]:
        """The images of a batch that a job can score; the others are undefined in `result`."""
        reasons = {i: job.unsuitable(self.rows[i], size) for i in places}
        for i, reason in reasons.items():
            if reason:
                result[i] = Undefined(reason)
        return tuple(i for i, reason in reasons.items() if not reason)


@contextmanager
def _naming(job: MetricJob) -> Iterator[None]:
    """What a metric, or its encoder, raises says whose error it is, and where it stands."""
    import torch

    name = job.worker.label
    try:
        yield
    except HarnessError as error:
        raise HarnessError(named(name, str(error))) from error
    except (OSError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:  # of anybody's metric
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise HarnessError(
            f"{name} failed: {type(error).__name__}: {first_line(error)} "
            f"({last.filename}, line {last.lineno})"
        ) from error


def _halving(job: MetricJob, images: torch.Tensor, rows: Sequence[ItemRow]) -> list[Any]:
    """A batch's results; a batch that does not fit into memory is halved."""
    import torch

    try:
        with _naming(job):
            results = list(job.compute(images, rows))
            if len(results) != len(rows):
                raise HarnessError(f"it gave {len(results)} results for {len(rows)} images")
            return results
    except torch.cuda.OutOfMemoryError:
        if len(rows) == 1:
            raise
        half = len(rows) // 2
    log.warning("%s: out of memory at a batch of %d, halved", job.worker.name, len(rows))
    return [*_halving(job, images[:half], rows[:half]), *_halving(job, images[half:], rows[half:])]
