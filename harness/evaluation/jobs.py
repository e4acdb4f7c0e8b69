"""Jobs of metrics and encoders on image shards: what they compute of a batch, and store."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.metrics.base import ItemMetric, Metric, listed
from harness.metrics.encoders import Encoder, ItemRow
from harness.metrics.undefined import Undefined
from harness.store import scores
from harness.store.run import Run

if TYPE_CHECKING:
    import torch


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
    def compute(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Any:
        """A tensor or list of what is found for each image; it may stay on the device."""

    @abstractmethod
    def results(self, found: Any) -> list[Any]:
        """A result or Undefined for each image, of what `compute` found, now on the host."""

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

    def compute(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Any:
        scores = self.metric.score(images, rows)
        return scores if hasattr(scores, "device") else list(scores)

    def results(self, found: Any) -> list[Any]:
        return [_finite(value) for value in listed(found)]

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

    def compute(self, images: torch.Tensor, rows: Sequence[ItemRow]) -> Any:
        return self.encoder.encode(images).float()

    def results(self, found: Any) -> list[Any]:
        features = found.numpy()
        return [
            row if whole else Undefined("its features are not finite")
            for row, whole in zip(features, np.isfinite(features).all(1), strict=True)
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
