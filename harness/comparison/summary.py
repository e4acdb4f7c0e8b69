"""Mean scores of runs with intervals and deviations over seeds, and which is best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from harness.comparison import statistics, two_way
from harness.comparison.statistics import Codes, Floats
from harness.comparison.with_best import told_worse
from harness.store.comparison_tables import MetricInfo
from harness.store.results import Estimate, Mean
from harness.store.run_facts import RunFacts
from harness.store.text_columns import numbered, places, texts

BEST, TIED = "best", "tied"


def mean_scores(
    runs: Mapping[str, RunFacts], items: Mapping[str, pd.DataFrame], metrics: Sequence[MetricInfo]
) -> list[Mean]:
    """A row a run and metric: its mean score, from the runs' `items` with `value:<metric>`."""
    rows = []
    for name, facts in runs.items():
        codes, seeds = _codes(items[name])
        for metric in metrics:
            values = _values(items[name], metric)
            held = ~np.isnan(values)
            values, by_prompt, by_seed = values[held], codes[held], seeds[held]
            score = _score(values, by_prompt, by_seed, facts.noise_key == "seed", metric)
            between, prompts = _deviation(values, by_prompt)
            error = None if between is None else between / math.sqrt(prompts)
            spread = error, _deviation(values, by_seed)[0]
            rows.append(Mean(name, metric.name, metric.direction, score, len(values), *spread))
    aligned = _aligned(items)
    shared = any(facts.noise_key == "seed" for facts in runs.values())
    standing = {
        metric.name: standings(
            aligned, {r.run: r.mean.value for r in rows if r.metric == metric.name}, metric, shared
        )
        for metric in metrics
    }
    return [replace(row, standing=standing[row.metric][row.run]) for row in rows]


def _deviation(values: Floats, codes: Codes) -> tuple[float | None, int]:
    """Standard deviation of the means by code, None with one code; and the number of codes."""
    means, _ = statistics.prompt_means(values, codes)
    return float(means.std(ddof=1)) if len(means) > 1 else None, len(means)


def standings(
    aligned: Mapping[str, pd.DataFrame],
    means: Mapping[str, float | None],
    metric: MetricInfo,
    shared: bool,
) -> dict[str, str | None]:
    """The standing of each run on a metric: best, tied, or null.

    Best is the best of `means`; tied is a run that is not told apart from a better one, over the
    images that both have scored, by `told_worse`: all runs are judged at once. `aligned` are the
    runs' images, row by row the same prompt and seed. `shared` noise makes seeds a sample, too.
    """
    known = {name: value for name, value in means.items() if value is not None}
    standing: dict[str, str | None] = dict.fromkeys(aligned)
    if len(known) < 2:
        return standing
    codes, seeds = _codes(next(iter(aligned.values())))
    scores = {name: metric.sign * _values(aligned[name], metric) for name in known}
    worse = told_worse([*scores.values()], codes, seeds, shared)
    best = max(known, key=lambda name: metric.sign * known[name])
    for name, lost in zip(known, worse, strict=True):
        compared = bool((~np.isnan(scores[name] - scores[best])).any())
        standing[name] = TIED if compared and not lost else None
    standing[best] = BEST
    return standing


def _score(
    values: Floats, prompts: Codes, seeds: Codes, shared: bool, metric: MetricInfo
) -> Estimate:
    """The mean score. Of scores 0 and 1 it has the interval of a rate, which stays in [0, 1]; other
    intervals are cut at the metric's range; there is none where all prompts score the same."""
    binary = (metric.least, metric.most) == (0, 1) and bool(np.isin(values, (0, 1)).all())
    if binary and shared and len(values):
        return two_way.shared_rate(values, prompts, seeds)[0]
    if binary:
        return statistics.winning_rate(values, prompts)
    score = _mean(values, prompts, seeds, shared)
    if score.low is not None and score.low == score.high:
        reason = "no interval: all prompts score the same"
        return Estimate(score.value, None, None, score.n, reason)
    return score.within(metric.least, metric.most)


def _mean(values: Floats, prompts: Codes, seeds: Codes, shared: bool) -> Estimate:
    if shared:
        return two_way.shared_mean(values, prompts, seeds)
    return statistics.mean(values, prompts)


def _codes(frame: pd.DataFrame) -> tuple[Codes, Codes]:
    """Prompts and seeds as numbers from 0."""
    return numbered(frame["prompt_id"]), numbered(frame["seed"])


def _values(frame: pd.DataFrame, metric: MetricInfo) -> Floats:
    """Scores [n], NaN where there is none or the image failed."""
    return frame[f"value:{metric.name}"].where(frame["failed"].isna()).to_numpy(np.float64)


def _aligned(items: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The runs' images in the order of the first run's; rows without a value where one lacks it."""
    first = next(iter(items.values()))
    ids = texts(first["item_id"])
    aligned = {}
    for name, frame in items.items():
        own = texts(frame["item_id"])
        if not own.equals(ids):
            frame = frame.reset_index(drop=True).reindex(places(ids, own))
        aligned[name] = frame
    return aligned
