"""Words and families of p-values."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from harness.comparison import MetricInfo, Primary, compare, load_comparison
from harness.comparison.decisions import holm, verdict
from harness.core.errors import HarnessError
from harness.reporting import remarks, words
from harness.store.results import Estimate
from tests.comparison.synthetic_runs import Item, make_run

GOOD, COST = MetricInfo("good", "higher"), MetricInfo("cost", "lower")


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_holm_is_statsmodels(size):
    p_values = list(np.random.default_rng(size).random(size) ** 3)
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert holm([None, *p_values])[1:] == holm(p_values)
    assert holm([None])[0] is None


def test_equivalent_is_an_interval_inside_the_margin():
    def said(low, high, p, margin):
        return verdict(Estimate(0.5, low, high, 100), p, margin)

    assert said(0.47, 0.54, 0.6, None) == "undecided"
    assert said(0.47, 0.54, 0.6, 0.05) == "equivalent"
    assert said(0.47, 0.56, 0.6, 0.05) == "undecided"
    assert said(0.51, 0.54, 0.01, 0.05) == "equivalent"  # a difference, and too small to matter
    assert said(0.51, 0.58, 0.01, 0.05) == "wins"
    assert said(0.40, 0.49, 0.01, 0.05) == "loses"


def contest(tmp_path, **more):
    rng = np.random.default_rng(0)

    def run(name):
        rows = [
            Item(f"p{i}", 0, {"good": rng.random(), "cost": 1.0}, category=f"c{i % 2}")
            for i in range(400)
        ]
        return make_run(str(tmp_path / name), rows)

    baselines = {"own": run("b"), "matched cost": None}
    return compare(run("a"), baselines, [GOOD, COST], str(tmp_path / "a"), **more)


def test_only_the_declared_result_is_primary_and_the_rest_exploratory(tmp_path):
    result = contest(tmp_path, primary=Primary("cost", "own"), margin=0.1)
    rates = result.rates
    primary = rates[rates["role"] == "primary"]
    assert primary[["metric", "comparison"]].values.tolist() == [["cost", "own"]]
    assert primary["category"].isna().all()
    assert set(rates["role"]) == {"primary", "exploratory"}
    assert result.rate("own", "good").verdict == "equivalent"
    assert "Declared as primary: cost" in " ".join(remarks.remarks(result))
    read = load_comparison(str(tmp_path / "a"))
    assert (read.primary, read.margin) == (Primary("cost", "own"), 0.1)


def test_nothing_declared_is_said(tmp_path):
    result = contest(tmp_path)
    assert set(result.rates["role"]) == {"exploratory"}
    assert "No primary result is declared" in remarks.remarks(result)[-1]
    assert "80\u00a0% of cases" in words.verdict_line(result, "own")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"primary": Primary("goood", "own")}, "did you mean 'good'"),
        ({"primary": Primary("good", "matched costs")}, "did you mean 'matched cost'"),
        ({"margin": 0.5}, "margin of equivalence is 0.5"),
    ],
)
def test_mistakes_in_a_declaration_are_named(tmp_path, more, message):
    with pytest.raises(HarnessError, match=message):
        contest(tmp_path, **more)
