"""Metrics, one file each, and all names that a new metric's file imports; see base.py."""

from harness.core.errors import HarnessError
from harness.metrics.base import USUAL, ItemMetric, PromptMetric, SetMetric, metric
from harness.metrics.encoders import (
    Encoder,
    ItemRow,
    encoder,
    make_encoder,
    per_batch,
)
from harness.metrics.references import ReferenceMetric
from harness.metrics.set_statistics import FeatureRows, Moments, Reference, RowStatistic, Statistic
from harness.metrics.transfer import each_picture, normalised, pil_images, to_device
from harness.metrics.undefined import Undefined

__all__ = [
    "USUAL",
    "Encoder",
    "FeatureRows",
    "HarnessError",
    "ItemMetric",
    "ItemRow",
    "Moments",
    "PromptMetric",
    "Reference",
    "ReferenceMetric",
    "RowStatistic",
    "SetMetric",
    "Statistic",
    "Undefined",
    "each_picture",
    "encoder",
    "make_encoder",
    "metric",
    "normalised",
    "per_batch",
    "pil_images",
    "to_device",
]
