"""Metrics: one file each. What a file of a metric imports of the harness is here; see base.py."""

from harness.metrics.base import (
    USUAL,
    Encoder,
    ItemMetric,
    ItemRow,
    PromptMetric,
    SetMetric,
    encoder,
    hash_file,
    make_encoder,
    metric,
    per_batch,
)
from harness.metrics.references import ReferenceMetric
from harness.metrics.set_statistics import Moments, Reference, Rows, Statistic
from harness.metrics.undefined import Undefined

__all__ = [
    "USUAL",
    "Encoder",
    "ItemMetric",
    "ItemRow",
    "Moments",
    "PromptMetric",
    "Reference",
    "ReferenceMetric",
    "Rows",
    "SetMetric",
    "Statistic",
    "Undefined",
    "encoder",
    "hash_file",
    "make_encoder",
    "metric",
    "per_batch",
]
