"""Effect sizes beside the winning rate: closed forms, loops written out, and coverage."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.comparison import MetricInfo, compare, effects
from harness.comparison.effects import pair_correlation, standardised_difference, unpaired_rate
from tests.comparison.synthetic_runs import Item, make_run


def test_the_unit_is_the_pooled_seed_deviation_of_the_baseline():
    rng = np.random.default_rng(0)
    b = rng.normal(size=(30, 3)) + 5 * rng.normal(size=(30, 1))
    a = b + 0.7 + 0.1 * rng.normal(size=(30, 3))
    found = standardised_difference(a.ravel(), b.ravel(), np.repeat(np.arange(30), 3))
    assert found.value == pytest.approx((a - b).mean() / np.sqrt(b.var(1, ddof=1).mean()))
    without = [
        np.delete(a - b, k, 0).mean() / np.sqrt(np.delete(b, k, 0).var(1, ddof=1).mean())
        for k in range(30)
    ]
    error = np.sqrt(29 / 30 * ((without - np.mean(without)) ** 2).sum())
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, 29) * error)


def test_the_correlation_is_pearsons():
    rng = np.random.default_rng(1)
    b = rng.normal(1e3, 1, 200)
    a = b + rng.normal(size=200)
    found = pair_correlation(a, b, np.arange(200))
    assert found.value == pytest.approx(stats.pearsonr(a, b).statistic, rel=1e-9)
    theirs = stats.pearsonr(a, b).confidence_interval()
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.04)
    assert pair_correlation(b, b, np.arange(200)).value == pytest.approx(1)


def test_nulls_say_why():
    one, codes = np.array([1.0, 2.0, 4.0]), np.arange(3)
    flat = np.ones(3)
    no = np.zeros(3, bool)
    assert "one seed" in standardised_difference(one, one, codes).reason
    assert "depend on the seed" in standardised_difference(one, flat, np.zeros(3, int)).reason
    assert "alike" in pair_correlation(one, flat, codes).reason
    assert "one seed" in unpaired_rate(one, one, no, no, 1.0, codes).reason
    none = np.zeros(0)
    for found in (
        standardised_difference(none, none, none.astype(int)),
        pair_correlation(none, none, none.astype(int)),
        unpaired_rate(none, none, none > 0, none > 0, 1.0, none.astype(int)),
    ):
        assert found.value is None
        assert found.reason


@pytest.mark.parametrize("count", [25, 3], ids=["few seeds", "many seeds"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_unpaired_rate_is_the_double_loop(sign, count):
    """Ties, failed images, unequal numbers of seeds and prompts in any order."""
    rng = np.random.default_rng(2)
    prompts = rng.integers(0, count, 120)
    a, b = rng.integers(0, 5, (2, 120)).astype(float)
    a_failed, b_failed = rng.random((2, 120)) < 0.1
    a[a_failed], b[b_failed] = np.nan, np.nan
    shares = []
    for prompt in np.unique(prompts):
        here = np.flatnonzero(prompts == prompt)
        wins = []
        for i in here:
            for j in here:
                if i == j:
                    continue
                if a_failed[i] or b_failed[j]:
                    wins.append((float(b_failed[j]) - float(a_failed[i]) + 1) / 2)
                else:
                    wins.append((np.sign(sign * (a[i] - b[j])) + 1) / 2)
        if wins:
            shares.append(np.mean(wins))
    found = unpaired_rate(a, b, a_failed, b_failed, sign, prompts)
    assert found.value == pytest.approx(np.mean(shares))
    assert found.n == len(shares)


def test_a_tiny_gain_everywhere_wins_all_pairs_and_is_small(tmp_path):
    """What the effect sizes are for: rate 1, a hundredth of a deviation, half of unpaired pairs."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(60, 4))

    def run(name, shift):
        rows = [
            Item(f"p{i}", s, {"good": values[i, s] + shift}) for i in range(60) for s in range(4)
        ]
        return make_run(str(tmp_path / name), rows)

    metric = [MetricInfo("good", "higher")]
    row = compare(run("a", 0.01), {"own": run("b", 0)}, metric, str(tmp_path)).rate("own", "good")
    assert row.winning_rate.value == 1
    assert row.effect.value == pytest.approx(0.01, rel=0.15)
    assert row.correlation.value == pytest.approx(1)
    assert row.crossed.low < 0.5 < row.crossed.high
    assert row.crossed.n == 60


def test_binary_scores_have_a_risk_difference_and_mcnemars_test(tmp_path):
    """One seed: b and c discordant pairs are a binomial test; the difference is (b - c) / n."""

    def run(name, values):
        rows = [Item(f"p{i}", 0, {"exact": float(v)}) for i, v in enumerate(values)]
        return make_run(str(tmp_path / name), rows)

    a = run("a", [1] * 14 + [0] * 4 + [1] * 30 + [0] * 12)
    b = run("b", [0] * 14 + [1] * 4 + [1] * 30 + [0] * 12)
    for direction in ("higher", "lower"):
        metric = [MetricInfo("exact", direction)]
        row = compare(a, {"own": b}, metric, str(tmp_path)).rate("own", "exact")
        assert row.binary
        assert (row.only_a, row.only_b) == (14, 4)
        assert row.mcnemar_p == pytest.approx(stats.binomtest(14, 18).pvalue)
        assert row.difference.value == pytest.approx(10 / 60)
        assert row.difference.low == pytest.approx(
            2 * row.winning_rate.low - 1 if direction == "higher" else 1 - 2 * row.winning_rate.high
        )
        assert 0 < row.difference.low < row.difference.value < row.difference.high < 1
    values = run("c", [0.5, *[0] * 59])
    row = compare(values, {"own": b}, metric, str(tmp_path)).rate("own", "exact")
    assert not row.binary
    assert pd.isna(row.mcnemar_p)


@pytest.mark.slow
@pytest.mark.parametrize(("m", "seeds"), [(20, 2), (60, 4)])
def test_effect_sizes_are_covered(m, seeds):
    """93 to 97 % of 1,500 repeats for what would be found with endless prompts."""
    rng = np.random.default_rng(m)
    codes, none = np.repeat(np.arange(m), seeds), np.zeros(m * seeds, bool)
    truth = np.array([0.4, 1.5 / 2.5, stats.norm.cdf(0.4 / np.sqrt(2))])
    covered = np.zeros(3)
    for _ in range(1500):
        common = rng.normal(size=(m, 1)) + np.sqrt(0.5) * rng.normal(size=(m, seeds))
        a, b = ((common + rng.normal(size=(m, seeds))).ravel() for _ in range(2))
        a = a + 0.4 * np.sqrt(1.5)
        found = (
            standardised_difference(a, b, codes),
            pair_correlation(a, b, codes),
            unpaired_rate(a, b, none, none, 1.0, codes),
        )
        covered += [f.low <= t <= f.high for f, t in zip(found, truth, strict=True)]
    assert ((covered / 1500 >= 0.92) & (covered / 1500 <= 0.98)).all(), covered / 1500


def test_scores_are_ranked_some_prompts_at_a_time(monkeypatch):
    random = np.random.default_rng(0)
    x, y = random.integers(0, 5, (2, 500)).astype(float)
    codes = random.integers(0, 90, 500)
    each = [
        (x[i] > y[codes == code]) + 0.5 * (x[i] == y[codes == code]) for i, code in enumerate(codes)
    ]
    monkeypatch.setattr(effects, "_ROWS", 7)
    assert np.array_equal(effects._beaten(x, y, codes), [rows.sum() for rows in each])
