"""Marks of the best: how often equal runs are called worse, and what is found."""

import numpy as np
import pytest

from harness.comparison.statistics import mean
from harness.comparison.with_best import told_worse

KINDS = ("normal", "skewed", "binary", "unequal")


def told(scores: np.ndarray, seeds: int = 1, shared: bool = False) -> np.ndarray:
    """Of scores [prompts * seeds, runs], seeds within prompts."""
    prompts, each = np.divmod(np.arange(len(scores)), seeds)
    return told_worse([*scores.T], prompts, each, shared)


def equal_runs(rng: np.random.Generator, m: int, k: int, kind: str) -> np.ndarray:
    """Scores [m, k] of runs with the same expectation, alike within a prompt."""
    common = rng.normal(size=(m, 1))
    if kind == "skewed":
        return common + rng.exponential(size=(m, k))
    if kind == "binary":
        return (common + rng.normal(size=(m, k)) > 0.5).astype(float)
    spread = np.linspace(0.3, 3, k) if kind == "unequal" else 1.0
    return common + spread * rng.normal(size=(m, k))


def test_two_runs_are_told_apart_by_the_exact_sign_flips():
    """Of two runs it is the sign-flip test: eight equal gaps have p = 2 / 2^8, five 2 / 2^5."""
    for m, apart in ((5, False), (6, True), (8, True)):
        base = np.random.default_rng(0).normal(size=m)
        assert told(np.stack([base, base + 1], 1)).tolist() == [apart, False]
    base = np.zeros(8)
    mixed = np.array([1.0, 1, 1, 1, 1, 1, -1, -1])  # p = 74 / 256
    assert not told(np.stack([base, mixed], 1)).any()


def test_worse_runs_are_found_and_the_better_ones_kept():
    rng = np.random.default_rng(2)
    common = rng.normal(size=(60, 1))
    scores = common + 0.3 * rng.normal(size=(60, 6)) + [0, 0, 0, -0.5, -2, -9]
    assert told(scores).tolist() == [False] * 3 + [True] * 3
    assert told(scores[:, ::-1]).tolist() == [True] * 3 + [False] * 3


def test_runs_that_never_differ_or_never_meet_are_not_told_apart():
    same = np.random.default_rng(2).normal(size=(20, 1)) * np.ones(3)
    assert not told(same).any()
    apart = same + np.arange(3)
    apart[:10, 0] = apart[10:, 2] = np.nan  # the first and the last share no image
    assert told(apart).tolist() == [True, True, False]
    assert not told(apart[:, [0, 2]]).any()
    assert not told(apart[:1]).any()
    assert told_worse([np.array([])], np.array([], int), np.array([], int), False).tolist() == [0]


def test_missing_images_are_left_out_pair_by_pair():
    """A run with few images takes no evidence from the others."""
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(40, 3)) + np.array([0, 2, 0])
    few = scores.copy()
    few[4:, 2] = np.nan
    assert told(scores).tolist() == [True, False, True]
    assert told(few).tolist() == [True, False, False]


def test_shared_noise_takes_five_seeds_and_counts_them():
    """A seed's effect on a run is the same at all prompts: 200 images are 4 or 8 observations."""
    rng = np.random.default_rng(4)
    for seeds in (4, 8):
        scores = 0.1 * rng.normal(size=(50, seeds, 3)) + [0.0, 0, 1]
        assert told(scores.reshape(-1, 3), seeds, shared=True).any() == (seeds == 8)
        effects = rng.normal(size=(1, seeds, 3))
        assert not told((scores[..., [0, 0, 0]] + effects).reshape(-1, 3), seeds, True).any()
    one_prompt = rng.normal(size=(30, 2)) + np.array([0, 3])
    assert told(one_prompt, 30, shared=True).tolist() == [True, False]


def each_against_best(scores: np.ndarray) -> bool:
    """Whether any run's 95 % interval of its difference from the best mean leaves out 0."""
    best = scores[:, [scores.mean(0).argmax()]]
    intervals = (mean(gap, np.arange(len(gap))) for gap in (best - scores).T)
    return any(one.low > 1e-12 for one in intervals)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [10, 50, 200])
@pytest.mark.parametrize(("k", "before"), [(3, 0.11), (8, 0.50), (17, 0.87)])
def test_any_of_equal_runs_is_called_worse_in_five_percent(m, k, before, kind):
    """At most 5 % (and two standard errors of the simulation); intervals one by one: 11, 50, 87."""
    rng = np.random.default_rng([m, k])
    repeats = 500 if k < 17 else 250
    tables = [equal_runs(rng, m, k, kind) for _ in range(repeats)]
    assert np.mean([told(scores).any() for scores in tables]) <= 0.05 + 2 * np.sqrt(
        0.05 * 0.95 / repeats
    )
    if kind == "normal":
        one_by_one = np.mean([each_against_best(scores) for scores in tables])
        assert one_by_one == pytest.approx(before, abs=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("gap", [0.2, 0.5, 1.0])
def test_equally_good_runs_are_kept_beside_worse_ones(gap):
    """The chance holds for the best three of eight, however far behind the others are."""
    rng = np.random.default_rng(6)
    tables = rng.normal(size=(400, 50, 8)) + np.where(np.arange(8) < 3, 0.0, -gap)
    lost = np.array([told(scores) for scores in tables])
    assert lost[:, :3].any(1).mean() <= 0.05 + 0.022
    assert lost[:, 3:].mean() >= {0.2: 0.0, 0.5: 0.25, 1.0: 0.95}[gap]


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seeds", [5, 10])
def test_shared_noise_holds_too(seeds, effect):
    """Where prompts share their noise: at most 5 % of eight equal runs, with a seed effect."""
    rng = np.random.default_rng([seeds, int(10 * effect)])
    repeats, wrong = 200, 0
    for _ in range(repeats):
        scores = rng.normal(size=(20, seeds, 8)) + 0.3 * rng.normal(size=(20, 1, 8))
        scores += effect * rng.normal(size=(1, seeds, 8))
        wrong += told(scores.reshape(-1, 8), seeds, shared=True).any()
    assert wrong / repeats <= 0.05 + 0.031
