"""Whole comparisons against loops over plain Python numbers."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
import pytest

from harness.comparison import MetricInfo, compare
from tests.comparison.synthetic_runs import Item, make_run

METRICS = [MetricInfo("good", "higher"), MetricInfo("cost", "lower")]
CATEGORIES = ["animals", "colour", ""]


def random_items(rng: np.random.Generator, prompts: int) -> list[Item]:
    """Three seeds a prompt, a tenth of them missing, failed or not scored; many ties."""
    items = []
    for number in range(prompts):
        for seed in range(3):
            luck = rng.random()
            if luck < 0.1:
                continue
            scores = {m.name: None if rng.random() < 0.1 else rng.integers(4) / 4 for m in METRICS}
            failed = "blank" if luck > 0.9 else None
            category = CATEGORIES[number % 3]
            items.append(Item(f"p{number}", seed, scores, category=category, failed=failed))
    return [items[at] for at in rng.permutation(len(items))]


def level(item: Item, metric: MetricInfo) -> float | None:
    """What decides: a failed picture is the worst of all."""
    if item.failed:
        return -math.inf
    score = item.scores[metric.name]
    return None if score is None else score if metric.direction == "higher" else -score


def won(a: Item, b: Item, metric: MetricInfo) -> float | None:
    one, other = level(a, metric), level(b, metric)
    if (one is None and other == -math.inf) or (other is None and one == -math.inf):
        return 1.0 if one is None else 0.0
    if one is None or other is None:
        return None
    return (one > other) + (one == other) / 2


def by_prompt(rows: list[tuple[Item, float]]) -> float:
    shares = defaultdict(list)
    for item, value in rows:
        shares[item.prompt_id].append(value)
    return fmean(fmean(values) for values in shares.values())


def crossed(common: list[tuple[Item, Item]], metric: MetricInfo) -> float:
    """Over two different seeds of a prompt, of items with a score or a failure on both sides."""
    shares = defaultdict(list)
    held = [pair for pair in common if None not in (level(pair[0], metric), level(pair[1], metric))]
    for a, _ in held:
        for _, b in held:
            if a.prompt_id == b.prompt_id and a.seed != b.seed:
                shares[a.prompt_id].append(won(a, b, metric))
    return fmean(fmean(values) for values in shares.values())


@pytest.fixture(scope="module")
def sides() -> tuple[list[Item], list[Item]]:
    rng = np.random.default_rng(5)
    return random_items(rng, 40), random_items(rng, 42)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, sides: tuple[list[Item], list[Item]]):
    folder: Path = tmp_path_factory.mktemp("compared")
    a = make_run(str(folder / "a"), sides[0], shard_size=16, side=8)
    b = make_run(str(folder / "b"), sides[1], shard_size=25, side=8)
    return compare(a, {"own": b}, METRICS, str(folder / "a"))


@pytest.mark.parametrize("category", [None, "animals", "colour"])
@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_the_rates_are_those_of_plain_loops(result, sides, metric, category) -> None:
    there = {(item.prompt_id, item.seed): item for item in sides[1]}
    every = [(a, b) for a in sides[0] if (b := there.get((a.prompt_id, a.seed)))]
    common = [(a, b) for a, b in every if category in (None, a.category)]
    outcomes = [(a, won(a, b, metric)) for a, b in common]
    known = [(a, outcome) for a, outcome in outcomes if outcome is not None]
    scored = [
        (a, a.scores[metric.name] - b.scores[metric.name])
        for a, b in common
        if not (a.failed or b.failed) and None not in (a.scores[metric.name], b.scores[metric.name])
    ]
    rates = result.rates[result.rates["metric"] == metric.name]
    row = rates[rates["category"].isna() if category is None else rates["category"] == category]
    (row,) = row.to_dict("records")
    expected = {
        "pairs": len(known),
        "prompts": len({a.prompt_id for a, _ in known}),
        "wins": sum(outcome == 1 for _, outcome in known),
        "ties": sum(outcome == 0.5 for _, outcome in known),
        "losses": sum(outcome == 0 for _, outcome in known),
        "left_out": len(outcomes) - len(known),
        "a_failed": sum(bool(a.failed) for a, _ in common),
        "b_failed": sum(bool(b.failed) for _, b in common),
        "a_unpaired": len(sides[0]) - len(every) if category is None else 0,
        "b_unpaired": len(sides[1]) - len(every) if category is None else 0,
        "difference_pairs": len(scored),
    }
    assert {name: row[name] for name in expected} == expected
    assert min(expected[name] for name in ("ties", "left_out", "a_failed", "b_failed")) > 0
    assert row["winning_rate"] == pytest.approx(by_prompt(known), abs=1e-12)
    assert row["difference"] == pytest.approx(by_prompt(scored), abs=1e-12)
    assert row["crossed"] == pytest.approx(crossed(common, metric), abs=1e-12)


def test_the_means_are_those_of_plain_loops(result, sides) -> None:
    for role, items in zip(("candidate", "own"), sides, strict=True):
        for metric in METRICS:
            scored = [
                (item, item.scores[metric.name])
                for item in items
                if not item.failed and item.scores[metric.name] is not None
            ]
            summary = result.summary
            here = (summary["run"] == role) & (summary["metric"] == metric.name)
            (row,) = summary[here].to_dict("records")
            assert row["images"] == len(scored)
            assert row["mean"] == pytest.approx(by_prompt(scored), abs=1e-12)
            assert row["failed"] == sum(bool(item.failed) for item in items)


def test_the_pairs_keep_the_candidates_order(result, sides) -> None:
    held = {(item.prompt_id, item.seed) for item in sides[1]}
    common = [a for a in sides[0] if (a.prompt_id, a.seed) in held]
    pairs = result.pairs[result.pairs["metric"] == "good"]
    assert list(zip(pairs["prompt_id"], pairs["seed"], strict=True)) == [
        (a.prompt_id, a.seed) for a in common
    ]
    values = [a.scores["good"] if not a.failed else None for a in common]
    pd.testing.assert_series_equal(
        pairs["a_value"].reset_index(drop=True), pd.Series(values, dtype="float64", name="a_value")
    )
