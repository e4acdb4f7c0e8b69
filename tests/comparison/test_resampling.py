"""Scores resampled by prompts, the same of all runs."""

import numpy as np
import pandas as pd
import pytest

from harness.comparison.resampling import DRAWS, resampled_means, resampled_set_scores
from harness.metrics.set_statistics import bias_corrected
from harness.store.comparison_tables import MetricInfo

GOOD = MetricInfo("good", "higher")


def frame(values, prompts, seeds=None):
    """A run's images with scores, None of a failed one."""
    failed = [None if value is not None else "black" for value in values]
    seeds = [0] * len(values) if seeds is None else seeds
    columns = {"prompt_id": prompts, "seed": seeds, "value:good": values, "failed": failed}
    return pd.DataFrame(columns).astype({"value:good": float})


def test_means_have_the_spread_of_prompts_and_runs_share_them():
    rng = np.random.default_rng(0)
    values = rng.normal(size=40)
    prompts = [f"p{i}" for i in range(40)]
    order = rng.permutation(40)
    other = frame(values[order] + 1, [prompts[i] for i in order])
    drawn = resampled_means({"a": frame(values, prompts), "b": other}, GOOD)
    assert drawn.shape == (DRAWS, 2)
    assert drawn[:, 1] - drawn[:, 0] == pytest.approx(np.ones(DRAWS))
    assert drawn[:, 0].mean() == pytest.approx(values.mean(), abs=0.02)
    assert drawn[:, 0].std() == pytest.approx(values.std() / 40**0.5, rel=0.1)


def test_seeds_are_averaged_and_of_one_prompt_drawn():
    two = frame([1.0, 3.0, 5.0, 7.0], ["p", "p", "q", "q"], [0, 1, 0, 1])
    assert set(np.unique(resampled_means({"a": two}, GOOD))) == {2.0, 4.0, 6.0}
    one = frame([1.0, 3.0], ["p", "p"], [0, 1])
    assert set(np.unique(resampled_means({"a": one}, GOOD))) == {1.0, 2.0, 3.0}


def test_what_is_missing_is_left_out_and_nothing_gives_nothing():
    some = frame([1.0, None, 1.0], ["p", "q", "r"])
    none = frame([None, None, None], ["p", "q", "r"])
    drawn = resampled_means({"a": some, "b": none}, GOOD)
    assert set(drawn[~np.isnan(drawn[:, 0]), 0]) == {1.0}
    assert np.isnan(drawn[:, 1]).all()


def test_set_scores_vary_about_their_corrected_values():
    rng = np.random.default_rng(1)
    left_out = 2.0 + 0.1 + 0.01 * rng.normal(size=20)
    drawn = resampled_set_scores([2.0, None, 3.0], [tuple(left_out), (), ()])
    assert drawn[:, 0].mean() == pytest.approx(bias_corrected(2.0, left_out), abs=0.01)
    error = np.sqrt(19 / 20 * ((left_out - left_out.mean()) ** 2).sum())
    assert drawn[:, 0].std() == pytest.approx(error, rel=0.1)
    assert np.isnan(drawn[:, 1:]).all()
    assert resampled_set_scores([1.0], [()]).shape == (DRAWS, 1)
