"""Metrics of the harness as `torchmetrics.Metric`, for training loops and other people's code."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
import torchmetrics
from torchmetrics.utilities import dim_zero_cat

from harness.core.errors import HarnessError
from harness.metrics.base import ItemMetric, SetMetric, make_metric
from harness.metrics.encoders import ItemRow
from harness.metrics.undefined import Undefined

log = logging.getLogger(__name__)


def as_torchmetric(metric: str, *, device: str = "cpu") -> torchmetrics.Metric:
    """A metric such as `fid-clean` or `clip(model=ViT-B-32)` as a `torchmetrics.Metric`.

    `update(images)` takes uint8 [B, 3, H, W]; metrics of single images also take the `prompts`, and
    `compute()` is their mean over images that have a score. A metric of whole sets keeps features,
    which ranks concatenate. NaN, with a warning that says why, where the number is undefined.
    Raises HarnessError for unknown metrics, missing weights, and metrics of a prompt's images.
    """
    made = make_metric(metric)
    made.check()
    made.load(device)
    if isinstance(made, SetMetric):
        return SetTorchmetric(made)
    if isinstance(made, ItemMetric):
        return ItemTorchmetric(made)
    raise HarnessError(f"{metric} compares the images of one prompt: it has no torchmetrics form")


class SetTorchmetric(torchmetrics.Metric):
    """A number of a whole set of images."""

    full_state_update = False
    features: list[torch.Tensor]

    def __init__(self, metric: SetMetric) -> None:
        super().__init__()
        self.metric = metric
        self.add_state("features", default=[], dist_reduce_fx="cat")

    @property
    def higher_is_better(self) -> bool:
        return self.metric.about.direction == "higher"

    def update(self, images: torch.Tensor) -> None:
        self.features.append(self.metric.features.encode(images.cpu()).to(self.device))

    def compute(self) -> torch.Tensor:
        # merged over processes it is one tensor
        if isinstance(self.features, list) and not self.features:
            return _number(Undefined("there are no images"), self.metric.about.name)
        statistic = self.metric.statistic()
        rows = dim_zero_cat(self.features).cpu().numpy()
        return _number(statistic.value(statistic.gather(rows)), self.metric.about.name)


class ItemTorchmetric(torchmetrics.Metric):
    """The mean of a metric of single images."""

    full_state_update = False
    total: torch.Tensor
    count: torch.Tensor

    def __init__(self, metric: ItemMetric) -> None:
        super().__init__()
        self.metric = metric
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    @property
    def higher_is_better(self) -> bool:
        return self.metric.about.direction == "higher"

    def update(self, images: torch.Tensor, prompts: Sequence[str] | None = None) -> None:
        if prompts is None and self.metric.about.needs_prompts:
            raise HarnessError(f"{self.metric.name} needs the images' prompts")
        texts = [""] * len(images) if prompts is None else list(prompts)
        if len(texts) != len(images):
            raise HarnessError(f"{len(texts)} prompts for {len(images)} images: give one each")
        self.metric.prepare(list(dict.fromkeys(texts)))
        rows = [ItemRow(text) for text in texts]
        scores = self.metric.values(images.cpu(), rows)
        known = [score for score in scores if not isinstance(score, Undefined)]
        self.total += sum(known)
        self.count += len(known)

    def compute(self) -> torch.Tensor:
        if not self.count:
            return _number(Undefined("no image has a score"), self.metric.about.name)
        return (self.total / self.count).float()


def _number(value: Any, name: str) -> torch.Tensor:
    if isinstance(value, Undefined):
        log.warning("%s is undefined: %s", name, value.reason)
        return torch.tensor(torch.nan)
    return torch.tensor(float(value))
