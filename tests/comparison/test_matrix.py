"""Several samplers: strengths against a general optimiser, rankings against two-run comparisons."""

import sys
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from harness import cli
from harness.comparison import MetricInfo, compare
from harness.comparison.bradley_terry import bootstrap, fit
from harness.comparison.matrix import compare_all
from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.reporting.matrix_page import rankings
from tests.comparison.synthetic_runs import Item, make_run

GOOD = MetricInfo("good", "higher", "Goodness")


def test_strengths_maximise_davidsons_likelihood():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 40, (6, 3)).astype(float)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]

    def loss(x):
        s, t = np.append(x[:3], 0), x[3]
        total = 0.0
        for (i, j), (win, tie, lose) in zip(pairs, counts + 1 / 3, strict=True):
            logs = np.array([s[i], t + (s[i] + s[j]) / 2, s[j]])
            total -= np.array([win, tie, lose]) @ (logs - np.logaddexp.reduce(logs))
        return total

    best = optimize.minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-8}).x
    expected = np.append(best[:3], 0)
    assert fit(counts, 4) == pytest.approx(expected - expected.mean(), abs=1e-5)
    both = fit(np.stack([counts, counts[:, ::-1]]), 4)
    assert both[1] == pytest.approx(-both[0], abs=1e-9)


def contests(rng, truth, m, repeats=1, tie=-1.0):
    """Results [repeats, m, pairs, 3] of m prompts by Davidson's model."""
    found = []
    for i, j in combinations(range(len(truth)), 2):
        logs = np.array([truth[i], (truth[i] + truth[j]) / 2 + tie, truth[j]])
        found.append(rng.multinomial(1, np.exp(logs) / np.exp(logs).sum(), (repeats, m)))
    return np.stack(found, 2).astype(float)


def covered(drawn, truth):
    low, high = np.quantile(drawn, [0.025, 0.975], 0)
    return ((low <= truth) & (truth <= high)).mean()


def test_strengths_stay_finite_and_bootstraps_cover():
    always = fit(np.array([[50, 0, 0], [50, 0, 0], [50, 0, 0]]), 3)
    assert np.isfinite(always).all()
    assert always[0] > always[1] > always[2]
    rng, truth = np.random.default_rng(1), np.array([0.5, 0.0, -0.5])
    found = contests(rng, truth, 80, 120)
    share = np.mean([covered(bootstrap(one, 3, 200, at), truth) for at, one in enumerate(found)])
    assert 0.90 <= share <= 0.98


def test_players_that_always_win_have_an_interval_and_equal_ones_strength_0():
    """Separation: the interval has a width, finite, around what is printed; more prompts, more."""
    always = np.zeros((10, 3, 3))
    always[:, :, 0] = 1
    point = fit(always.sum(0), 3)
    low, high = np.quantile(bootstrap(always, 3), [0.025, 0.975], 0)
    assert np.isfinite([low, high]).all()
    assert (low < point).all()
    assert (point < high).all()
    assert (high - low > 1)[[0, 2]].all()
    assert point[1] == 0.0  # and no rounding
    tied = np.zeros((6, 6, 3))
    tied[:, :, 1] = 1
    assert fit(tied.sum(0), 4).tolist() == [0.0] * 4
    assert np.isfinite(bootstrap(tied[:2], 4)).all()


@pytest.mark.slow
@pytest.mark.parametrize("m", [10, 30])
@pytest.mark.parametrize(
    ("truth", "tie"),
    [([2, 0, -2], -1), ([2, 0, -2], -9), ([3, 1, -1, -3], -1), ([2, 1, 0, -1, -2], 1)],
)
def test_intervals_of_strengths_cover_spread_players(m, truth, tie):
    """92 to 98.5 % of 200 repeats; resampled prompts with fixed pseudo-counts less than 91 %."""
    rng, truth = np.random.default_rng(m), np.array(truth, float)
    players, found = len(truth), contests(rng, truth, m, 200, tie)
    drawn = [bootstrap(one, players, 200, at) for at, one in enumerate(found)]
    share = np.mean([covered(each, truth) for each in drawn])
    assert 0.92 <= share <= 0.985

    def resampled(one):
        weights = rng.multinomial(m, np.full(m, 1 / m), 200).astype(float)
        return fit(np.einsum("dm,mpk->dpk", weights, one), players)

    if m == 10:
        assert np.mean([covered(resampled(one), truth) for one in found]) < 0.91


def runs(tmp_path, seeds=2):
    rng = np.random.default_rng(2)
    common = rng.normal(size=(30, seeds))
    found = {}
    for name, shift in (("a", 0.0), ("b", 0.4), ("c", 1.2)):
        own = common + shift + rng.normal(size=common.shape)
        rows = [
            Item(f"p{i}", s, {"good": own[i, s]}, category=f"c{i % 2}")
            for i in range(30)
            for s in range(seeds)
        ]
        found[name] = make_run(str(tmp_path / name), rows, Call(name))
    return found


def test_every_cell_is_the_comparison_of_two_and_its_mirror(tmp_path):
    made = runs(tmp_path)
    found = compare_all(made, [GOOD])
    cells = found.matrix.set_index(["category", "a", "b"])
    two = compare(made["c"], {"own": made["a"]}, [GOOD], str(tmp_path / "two"))
    for _, row in two.rates.iterrows():
        category = None if pd.isna(row["category"]) else row["category"]
        part = found.matrix
        here = part["category"].isna() if category is None else part["category"] == category
        ac = part[here & (part["a"] == "a") & (part["b"] == "c")].iloc[0]
        ca = part[here & (part["a"] == "c") & (part["b"] == "a")].iloc[0]
        for key in ("winning_rate", "low", "high", "difference", "difference_low", "p_value"):
            assert ca[key] == pytest.approx(row[key])
        assert (ac["low"], ac["high"]) == pytest.approx((1 - ca["high"], 1 - ca["low"]))
        assert ac["difference_low"] == pytest.approx(-ca["difference_high"])
    assert len(cells) == 3 * 6


def test_the_ranking_is_the_mean_over_the_others(tmp_path):
    found = compare_all(runs(tmp_path), [GOOD])
    whole = found.ranking[found.ranking["category"].isna()].set_index("run")
    cells = found.matrix[found.matrix["category"].isna()]
    for name in "abc":
        expected = cells[cells["a"] == name]["winning_rate"].mean()
        row = whole.loc[name]
        assert row["winning_rate"] == pytest.approx(expected)
        assert row["low"] < expected < row["high"]
        assert row["strength_low"] < row["strength"] < row["strength_high"]
    assert whole["strength"].sum() == pytest.approx(0, abs=1e-9)
    assert whole["strength"].idxmax() == "c"
    again = compare_all(runs(tmp_path / "again"), [GOOD])
    pd.testing.assert_frame_equal(found.ranking, again.ranking)
    table = rankings(found)
    assert [group.title for group in table.groups][1:] == [
        "Goodness\u00a0↑, c0",
        "Goodness\u00a0↑, c1",
    ]
    assert [row[0] for row in table.groups[0].rows] == ["c", "b", "a"]


def test_two_runs_and_other_noise_are_refused(tmp_path):
    made = runs(tmp_path)
    with pytest.raises(HarnessError, match="three or more"):
        compare_all({name: made[name] for name in "ab"}, [GOOD])
    other = make_run(str(tmp_path / "d"), [Item("p0", 0, {"good": 1.0})], noise_key="seed")
    with pytest.raises(HarnessError, match="same noise"):
        compare_all({**made, "d": other}, [GOOD])


def test_the_command_writes_the_page_and_prints_the_ranking(tmp_path, monkeypatch, capsys):
    runs(tmp_path)
    paths = [str(tmp_path / name) for name in "abc"]
    monkeypatch.setattr("harness.experiments.scoring.metric_info", lambda metric: GOOD)
    monkeypatch.setattr("harness.experiments.scoring.by_prompt", lambda metrics: {})
    monkeypatch.setattr("harness.face.judging.make_metrics", lambda names: [object()])
    command = ["harness", "compare", *paths, "--metrics", "good", "--matrix"]
    monkeypatch.setattr(sys, "argv", [*command, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    assert "Goodness" in capsys.readouterr().out
    text = (tmp_path / "out/matrix.md").read_text()
    assert "Winning rate of the row over the column: Goodness" in text
    page = (tmp_path / "out/report/matrix.html").read_text()
    assert "https:" not in page
    assert len(pd.read_parquet(tmp_path / "out/compare/matrix.parquet")) == 18
