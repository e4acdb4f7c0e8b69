"""Scores of several runs resampled together, by prompts: the same prompts of all runs each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from harness.comparison.statistics import Floats
from harness.metrics.set_statistics import bias_corrected
from harness.store.comparison_tables import MetricInfo
from harness.store.text_columns import texts

DRAWS = 1000
_MOST = 1 << 22  # counts drawn at once


def resampled_means(items: Mapping[str, pd.DataFrame], metric: MetricInfo) -> Floats:
    """Mean scores [1000, runs] over prompts drawn with replacement, NaN where a run has none.

    `items` are the runs' images with `value:<metric>`. Of one prompt, seeds are drawn.
    """
    prompts = {name: _prompts(frame["prompt_id"]) for name, frame in items.items()}
    one = len({prompt for known in prompts.values() for prompt in known.unique()}) < 2
    column = f"value:{metric.name}"
    means = {
        name: frame[column]
        .where(frame["failed"].isna())
        .groupby(frame["seed"] if one else prompts[name])
        .mean()
        for name, frame in items.items()
    }
    return _drawn(pd.concat(means, axis=1).sort_index().to_numpy(np.float64))


def _prompts(column: pd.Series) -> pd.Series:
    return pd.Series(texts(column).to_pandas().array, column.index)


def resampled_set_scores(
    values: Sequence[float | None], left_out: Sequence[Sequence[float]]
) -> Floats:
    """Set scores [1000, runs] over drawn jackknife blocks, corrected for bias as differences are.

    They are means of pseudo-values: B value - (B - 1) times the value without a block. `values` and
    `left_out`, of the same blocks, are a run's each; NaN where one has none.
    """
    blocks = max(map(len, left_out), default=0)
    pseudo = np.full((blocks, len(values)), np.nan)
    for at, (value, without) in enumerate(zip(values, left_out, strict=True)):
        if value is not None and without:
            pseudo[:, at] = [bias_corrected(value, [one] * blocks) for one in without]
    return _drawn(pseudo)


def _drawn(table: Floats) -> Floats:
    """Means [1000, runs] of `table` [units, runs] over drawn units; what is NaN is left out."""
    units = len(table)
    if not units:
        return np.full((DRAWS, table.shape[1]), np.nan)
    random, known = np.random.default_rng(0), ~np.isnan(table)
    filled = np.where(known, table, 0.0)
    means: list[Floats] = []
    at_once, chances = min(100, max(1, _MOST // units)), np.full(units, 1 / units)
    for at in range(0, DRAWS, at_once):
        count = min(at_once, DRAWS - at)
        weights = random.multinomial(units, chances, count).astype(np.float64)
        counts = weights @ known
        sums = weights @ filled
        means.append(np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0))
    return np.concatenate(means)
