"""Matrix of three or more samplers: all pairwise comparisons, mean winning rates, strengths."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from harness.comparison import bradley_terry, pairs, rating, statistics, two_way
from harness.comparison.rating import Pairs
from harness.comparison.same_noise import check_same_noise
from harness.comparison.statistics import Mask
from harness.core.errors import HarnessError
from harness.core.outcome import OUTCOMES, turned
from harness.metrics.base import PromptMetric
from harness.store.comparison_tables import MetricInfo
from harness.store.matrix_table import Duel, MatrixTable, Rank
from harness.store.results import Estimate
from harness.store.run import Run


def compare_all(
    runs: Mapping[str, Run],
    metrics: Sequence[MetricInfo],
    items: Collection[str] | None = None,
    by_prompt: Mapping[str, PromptMetric] | None = None,
) -> MatrixTable:
    """Compare each run with each other one, over the images that all have in common.

    Strengths are those of Bradley and Terry with Davidson's ties, with the 2.5 and 97.5 percentiles
    of 1,000 draws of `bradley_terry.bootstrap` over prompts. Raises HarnessError as `compare` does,
    and for fewer than three runs and imported runs that are not paired.
    """
    if len(runs) < 3:
        raise HarnessError(f"a matrix takes three or more runs: {len(runs)} are given")
    first = next(iter(runs.values()))
    for run in runs.values():
        if not run.paired:
            raise HarnessError(f"{run.path} is not paired with the others: compare it by itself")
        if run is not first:
            check_same_noise(first, run)
    read = {name: pairs.read_items(run, metrics, items, by_prompt) for name, run in runs.items()}
    for side in read.values():
        pairs.check_same_metrics(next(iter(read.values())), side)
    common = _common({name: side.items for name, side in read.items()})
    shared = first.spec.noise_key == "seed"
    duels: list[Duel] = []
    ranks: list[Rank] = []
    for metric in metrics:
        joined = {
            (a, b): _pairs(common, a, b, metric, shared, runs) for a, b in combinations(runs, 2)
        }
        some = next(iter(joined.values()))
        parts: list[tuple[str | None, Mask]] = [(None, np.ones(len(some.outcome), bool))]
        parts += [(name, some.categories == at) for at, name in enumerate(some.category_names)]
        for category, kept in parts:
            here = {names: each.part(kept) for names, each in joined.items()}
            duels += _duels(here, metric, category)
            ranks += _ranks(here, list(runs), metric, category)
    shown = {name: str(run.spec.sampler) for name, run in runs.items()}
    return MatrixTable(shown, list(metrics), duels, ranks)


def _common(sides: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The items that all sides have, in one order."""
    keyed = {name: frame.set_index("item_id") for name, frame in sides.items()}
    frames = list(keyed.values())
    index = frames[0].index
    for frame in frames[1:]:
        index = index.intersection(frame.index, sort=False)
    if index.empty:
        raise HarnessError("the runs have no image in common: take the same prompts and seeds")
    return {name: frame.loc[index].reset_index() for name, frame in keyed.items()}


def _pairs(
    common: Mapping[str, pd.DataFrame],
    a: str,
    b: str,
    metric: MetricInfo,
    shared: bool,
    runs: Mapping[str, Run],
) -> Pairs:
    joined = pairs.join(common[a], common[b], (runs[a].path, runs[b].path))
    return Pairs.of(joined, metric, shared)


def _duels(
    joined: Mapping[tuple[str, str], Pairs], metric: MetricInfo, category: str | None
) -> Iterator[Duel]:
    """Both orders of each pair; the second is the first mirrored."""
    for (a, b), each in joined.items():
        result = rating.result(each, metric, f"{a} vs {b}")
        alike = None if category else rating.over_categories(each)["heterogeneity_p"]
        decided, share = result.decided, result.decided_share
        about, rate, gap = (result.pairs, result.p_value), result.winning_rate, result.difference
        yield Duel(metric.name, category, a, b, *about, rate, gap, decided, share, alike)
        other = (rate.turned(1), gap.turned(0), decided.turned(1))
        yield Duel(metric.name, category, b, a, *about, *other, share, alike)


def _ranks(
    joined: Mapping[tuple[str, str], Pairs],
    names: list[str],
    metric: MetricInfo,
    category: str | None,
) -> Iterator[Rank]:
    """Mean winning rates and strengths over the items on which every pair counts, if any."""
    outcome = np.stack([each.outcome for each in joined.values()], 1)
    counted = ~np.isnan(outcome.sum(axis=1))
    outcome = outcome[counted]
    if not len(outcome):
        return
    some = next(iter(joined.values())).part(counted)
    _, prompts, sizes = np.unique(some.prompts, return_inverse=True, return_counts=True)
    results = np.stack([outcome == value for value in OUTCOMES], 2).astype(np.float64)
    by_prompt = np.zeros((len(sizes), *results.shape[1:]))
    np.add.at(by_prompt, prompts, results)
    by_prompt /= sizes[:, None, None]
    strengths = bradley_terry.fit(by_prompt.sum(0), len(names))
    drawn = bradley_terry.bootstrap(by_prompt, len(names))
    low, high = np.quantile(drawn, [0.025, 0.975], 0)
    alone = len(sizes) == 1 or some.shared
    for at, name in enumerate(names):
        wins = [
            outcome[:, k] if a == name else turned(outcome[:, k])
            for k, (a, b) in enumerate(joined)
            if name in (a, b)
        ]
        mean = np.mean(wins, 0)
        rate = (
            two_way.shared_rate(mean, prompts, some.seeds)[0]
            if some.shared
            else statistics.winning_rate(mean, prompts)
        )
        ends: tuple[Any, Any] = (None, None) if alone else (low[at], high[at])
        yield Rank(metric.name, category, name, rate, Estimate(strengths[at], *ends, rate.n))
