"""Scores of images by the features of their prompt's images: computed when they are read."""

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
    prompts = selection.frame(["prompt_id"])["prompt_id"].fillna("").to_numpy()[valid]
    scores: list[float | Undefined] = [float("nan")] * len(features)
    for members in pd.Series(range(len(prompts))).groupby(prompts).indices.values():
        values = metric.values(features[members])
        for at, value in zip(members, values, strict=True):
            scores[at] = value
    found = selection.reasons(encoder)
    found.loc[valid, "value"] = [None if isinstance(s, Undefined) else s for s in scores]
    found.loc[valid, "reason"] = [s.reason if isinstance(s, Undefined) else None for s in scores]
    return found.astype({"value": "float64"})[["value", "reason"]]


def prompt_identity(selection: Selection, metric: PromptMetric) -> str:
    """Version and parameters of a metric, with those of the features that it reads."""
    features = selection.identity(f"features/{metric.features.label}")
    made_by = json.dumps([metric.name, metric.version, metric.params, features], sort_keys=True)
    return hashlib.sha256(made_by.encode()).hexdigest()[:16]
