"""Scores of prompt metrics, computed from stored features whenever runs are compared."""

from __future__ import annotations

import hashlib
import json

import pandas as pd

from harness.metrics.base import PromptMetric
from harness.metrics.undefined import Undefined
from harness.store.scores import Selection


def prompt_scores(selection: Selection, metric: PromptMetric) -> pd.DataFrame:
    """`value` and `reason` of every selected item, in order, among the selected of its prompt.

    Raises HarnessError if features are missing, or of several versions of the encoder.
    """
    encoder = metric.features.label
    selection.identity(f"features/{encoder}")
    features, valid = selection.features(encoder)
    prompts = selection.frame(["prompt_id"])["prompt_id"].astype("str").fillna("").to_numpy()[valid]
    scores: list[float | Undefined] = [float("nan")] * len(features)
    for members in pd.Series(range(len(prompts))).groupby(prompts).indices.values():
        values = metric.values(features[members])
        for at, value in zip(members, values, strict=True):
            scores[at] = value
    table = selection.reasons(encoder)
    table.loc[valid, "value"] = [None if isinstance(s, Undefined) else s for s in scores]
    table.loc[valid, "reason"] = [s.reason if isinstance(s, Undefined) else None for s in scores]
    return table.astype({"value": "float64"})[["value", "reason"]]


def prompt_identity(selection: Selection, metric: PromptMetric) -> str:
    """Hash of a metric's version and parameters, and of the features that it reads."""
    features = selection.identity(f"features/{metric.features.label}")
    made_by = json.dumps([metric.name, metric.version, metric.params, features], sort_keys=True)
    return hashlib.sha256(made_by.encode()).hexdigest()[:16]
