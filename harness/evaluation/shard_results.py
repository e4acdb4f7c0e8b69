"""Results of jobs on one image shard, batch by batch; they share batches and forward passes."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.core.errors import HarnessError, first_line
from harness.evaluation.batches import PictureBatch
from harness.evaluation.jobs import MetricJob
from harness.evaluation.readback import Readback, stacked
from harness.metrics.base import named
from harness.metrics.encoders import ItemRow
from harness.metrics.undefined import Undefined
from harness.store.pictures import Broken, Unread
from harness.store.run import Run
from harness.store.scores import ImageRow

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Computed:
    """What the jobs found of one batch: of each the places in the shard, and the parts."""

    readback: Readback
    found: list[tuple[tuple[int, ...], list[Any]]] = field(default_factory=list)


class ShardResults:
    """Results of jobs on one image shard, batch by batch; `key` is the hash of its images.

    Jobs that score the same images of a batch get the same tensor, so that they can share a forward
    pass. What a GPU found of a batch is read when the next one is under way, the last by `write`.
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
        self.device = device
        self.computed: deque[_Computed] = deque()  # whose results are not read yet
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
        computed = _Computed(Readback())
        with torch.inference_mode():
            for job, result in zip(self.jobs, self.results, strict=True):
                fit = self._fit(job, batch.size, whole, result)
                if fit and fit not in tensors:
                    tensors[fit] = stacked([whole[i] for i in fit], self.device)
                parts = _halving(job, tensors[fit], [self.rows[i] for i in fit]) if fit else []
                computed.found.append((fit, [computed.readback.copy(part) for part in parts]))
        self.computed.append(computed)
        while len(self.computed) > 1 or (self.computed and not self.pending):
            self._read()

    @property
    def pending(self) -> bool:
        """Whether results are on their way from a device, so that others may be computed first."""
        return any(one.readback.pending for one in self.computed)

    def _read(self) -> None:
        """The results of the oldest batch that are not read yet."""
        computed = self.computed.popleft()
        computed.readback.wait()
        for job, result, (fit, parts) in zip(self.jobs, self.results, computed.found, strict=True):
            with _naming(job):
                values = [value for part in parts for value in job.results(part)]
            for i, value in zip(fit, values, strict=True):
                result[i] = value

    def write(self) -> None:
        """Store the whole shard; imported files that are no pictures count as failed images."""
        while self.computed:
            self._read()
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
    """What a job finds of a batch, in parts: one that does not fit into memory is halved."""
    import torch

    try:
        with _naming(job):
            found = job.compute(images, rows)
            if len(found) != len(rows):
                raise HarnessError(f"it gave {len(found)} results for {len(rows)} images")
            return [found]
    except torch.cuda.OutOfMemoryError:
        if len(rows) == 1:
            raise
        half = len(rows) // 2
    log.warning("%s: out of memory at a batch of %d, halved", job.worker.name, len(rows))
    return [*_halving(job, images[:half], rows[:half]), *_halving(job, images[half:], rows[half:])]
