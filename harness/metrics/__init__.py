"""Metrics: one file each. What a file of a metric imports of the harness is here; see base.py."""

from harness.core.errors import HarnessError
from harness.metrics.base import USUAL, ItemMetric, PromptMetric, SetMetric, metric
from harness.metrics.encoders import (
    Encoder,
    ItemRow,
    encoder,
    make_encoder,
    on_cpu,
    per_batch,
)
from harness.metrics.references import ReferenceMetric
from harness.metrics.set_statistics import FeatureRows, Moments, Reference, Statistic
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
    "SetMetric",
    "Statistic",
    "Undefined",
    "encoder",
    "make_encoder",
    "metric",
    "on_cpu",
    "per_batch",
]
