"""Differences of set scores: the correction's closed forms, verdicts, and false differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.comparison.comparing import compare
from harness.comparison.set_differences import set_verdict
from harness.metrics.frechet import Frechet
from harness.metrics.set_statistics import BLOCKS, Reference, bias_corrected, delete_one, jackknife
from harness.reporting.tables import set_scores
from harness.store.comparison_tables import MetricInfo, RunScore, load_comparison
from harness.store.results import Estimate
from tests.comparison.synthetic_runs import Item, make_run

GOOD = MetricInfo("good", "higher", "Goodness")
FD = MetricInfo("fd", "lower", "Frechet distance")


def test_a_bias_of_order_one_over_n_is_taken_away():
    """theta + c / n over n images, and over n - n/20 with a block left out, gives theta."""
    n, theta, c = 400, 1.7, 30.0
    left_out = [theta + c / (n - n / BLOCKS)] * BLOCKS
    assert bias_corrected(theta + c / n, left_out) == pytest.approx(theta, rel=1e-12)
    values = np.random.default_rng(0).normal(size=BLOCKS)
    means = (values.sum() - values) / (BLOCKS - 1)
    assert bias_corrected(values.mean(), means) == pytest.approx(values.mean(), rel=1e-12)


def test_the_verdict_goes_by_the_interval_and_the_direction():
    for ends, lower in (((-2, -1), "better"), ((1, 2), "worse"), ((-1, 2), "undecided")):
        opposite = {"better": "worse", "worse": "better"}.get(lower, lower)
        assert set_verdict(Estimate(0.0, *ends, 9), "lower") == lower
        assert set_verdict(Estimate(0.0, *ends, 9), "higher") == opposite
    assert set_verdict(Estimate(None, None, None, 9, "too few"), "lower") == "undefined"


def test_a_comparison_stores_and_shows_the_corrected_difference(tmp_path):
    """The raw difference says one thing, the corrected another: the verdict is the latter's."""
    rng = np.random.default_rng(1)
    moved = rng.normal(size=BLOCKS) * 0.01
    ours = tuple(3.0 + 0.1 + moved)  # grows by 0.1 with a block left out: 1.9 of it is bias
    theirs = tuple(2.0 + moved * 0.5)
    scores = [
        RunScore("candidate", FD, 3.0, 40, left_out=ours, items="x"),
        RunScore("own", FD, 2.0, 40, left_out=theirs, items="x"),
        RunScore("matched cost", FD, 2.0, 40, items="x"),
    ]
    runs = {n: make_run(str(tmp_path / n), [Item("p", 0, {"good": 1.0})]) for n in "abc"}
    baselines = {"own": runs["b"], "matched cost": runs["c"]}
    compare(runs["a"], baselines, [GOOD], str(tmp_path / "a"), scores)
    found = load_comparison(str(tmp_path / "a"))
    own, alone = found.set_results[1:]
    raw = np.subtract(ours, theirs)
    half = np.diff(jackknife(1.0, raw))[0] / 2
    assert own.difference.value == 1.0
    assert own.corrected.value == pytest.approx(bias_corrected(1.0, raw))
    assert own.corrected.value == pytest.approx(-0.9, abs=0.05)
    assert own.corrected.ends == pytest.approx(
        (own.corrected.value - half, own.corrected.value + half)
    )
    assert own.verdict == "better"
    assert (alone.difference.value, alone.corrected.value) == (1.0, None)
    assert alone.corrected.reason == "no interval"
    assert [row.verdict for row in found.set_results] == [None, "better", "undefined"]
    table = set_scores(found)
    cells = dict(zip(table.columns, table.groups[0].rows[1], strict=True))
    assert cells["A - B"] == "+1.000"
    assert cells["A - B, corrected"].startswith("\N{MINUS SIGN}0.9")
    assert cells["verdict"] == "better"
    assert "Corrected: " in table.note


def gaussian(width: int) -> Reference:
    """A reference of unit normal features."""
    return Reference(np.zeros(width), np.eye(width), None, {})


def misses(ends: tuple[float, float]) -> bool:
    """Whether an interval leaves out 0, the true difference."""
    return not ends[0] <= 0 <= ends[1]


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 0.9])
@pytest.mark.parametrize(("low", "high"), [(0.9, 1.1), (0.8, 1.2), (0.5, 1.5)])
@pytest.mark.parametrize(("n", "least"), [(200, 0.65), (800, 0.35)])
def test_equal_distances_of_unequal_spread_differ_in_five_percent(n, least, low, high, shared):
    """N(0, 0.8^2) and N(0, 1.2^2) are as far from N(0, 1), by infinitely many images.

    In 48 features intervals of the raw difference leave out 0 in `least` or more of 150 repeats,
    those of the corrected one in 6.5 %, or less by two standard errors (4 %).
    """
    width, repeats = 48, 150
    rng, statistic = np.random.default_rng([n, int(10 * low)]), Frechet(gaussian(width))
    raw = corrected = 0
    for _ in range(repeats):
        common = rng.normal(size=(n, width))
        sides = []
        for scale in (low, high):
            own = rng.normal(size=(n, width))
            features = scale * (math.sqrt(shared) * common + math.sqrt(1 - shared) * own)
            states = [statistic.gather(part) for part in np.split(features, BLOCKS)]
            sides.append(
                (statistic.value(statistic.gather(features)), delete_one(statistic, states))
            )
        value, left_out = sides[0][0] - sides[1][0], sides[0][1] - sides[1][1]
        raw += misses(jackknife(value, left_out))
        corrected += misses(jackknife(bias_corrected(value, left_out), left_out))
    assert raw / repeats >= least
    assert corrected / repeats <= 0.065 + 0.04
