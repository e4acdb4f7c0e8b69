"""Wins among the pairs that do not tie."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from harness.comparison import MetricInfo, compare
from harness.comparison.decided_pairs import decided_rate
from harness.comparison.statistics import winning_rate
from harness.reporting import category_words, tables, words
from harness.reporting.comparison_page import brief
from tests.comparison.synthetic_runs import Item, make_run

GOOD = MetricInfo("good", "higher", "Goodness")


def outcomes(wins: int, losses: int, ties: int) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat([1.0, 0.0, 0.5], [wins, losses, ties]), np.arange(wins + losses + ties)


def test_one_seed_is_wilson_on_the_decided_pairs_however_many_tie():
    few, many = (decided_rate(*outcomes(1300, 700, ties)) for ties in (0, 9000))
    low, high = proportion_confint(1300, 2000, 0.05, "wilson")
    assert (few.low, few.high) == pytest.approx((low, high), abs=1e-4)
    assert few == many
    assert (few.value, few.n) == (0.65, 2000)


def test_without_ties_it_is_the_winning_rate():
    rng = np.random.default_rng(0)
    outcome, prompts = (rng.random(200) < 0.7).astype(float), np.repeat(np.arange(50), 4)
    found, rate = decided_rate(outcome, prompts), winning_rate(outcome, prompts)
    assert (found.low, found.value, found.high) == pytest.approx((rate.low, rate.value, rate.high))


def test_repeating_every_seed_does_not_shrink_the_interval_and_sides_mirror():
    rng = np.random.default_rng(1)
    outcome = rng.choice([0, 0.5, 1], 80, p=[0.1, 0.6, 0.3])
    one = decided_rate(outcome, np.arange(80))
    four = decided_rate(np.repeat(outcome, 4), np.repeat(np.arange(80), 4))
    other = decided_rate(1 - outcome, np.arange(80))
    assert (one.low, one.high) == pytest.approx((four.low, four.high))
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low))


def test_a_tie_at_a_second_seed_changes_nothing():
    rng = np.random.default_rng(2)
    once = (rng.random(60) < 0.7).astype(float)
    tied = np.stack([once, np.full(60, 0.5)], 1).ravel()
    one, two = decided_rate(once, np.arange(60)), decided_rate(tied, np.repeat(np.arange(60), 2))
    assert (one.low, one.high) == pytest.approx((two.low, two.high))


def test_the_rate_is_one_half_and_the_decided_share_of_the_rest():
    outcome, prompts = outcomes(108, 12, 1080)
    found = decided_rate(outcome, prompts)
    assert found.value == pytest.approx(0.9)
    assert winning_rate(outcome, prompts).value == pytest.approx(0.5 + 0.1 * (found.value - 0.5))


def test_nothing_decided_is_null_with_a_reason():
    for size, reason in ((0, "no pairs"), (9, "every pair ties")):
        found = decided_rate(*outcomes(0, 0, size))
        assert (found.value, found.low, found.n, found.reason) == (None, None, 0, reason)
    one = decided_rate(np.array([1, 0, 1, 0.5]), np.array([0, 0, 0, 1]))
    assert (one.value, one.ends, one.n) == (pytest.approx(2 / 3), None, 1)


def contest(tmp_path, wins: int, losses: int, ties: int, margin: float | None):
    """One seed of as many prompts as pairs."""
    values, _ = outcomes(wins, losses, ties)

    def run(name, scores):
        items = [Item(f"p{i}", 0, {"good": float(v)}) for i, v in enumerate(scores)]
        return make_run(str(tmp_path / name), items, seconds=None)

    a, b = run("a", values), run("b", np.full(len(values), 0.5))
    return compare(a, {"own": b}, [GOOD], str(tmp_path / "a"), margin=margin)


def test_equivalent_that_is_little_more_than_ties_is_said_so(tmp_path):
    result = contest(tmp_path, 54, 6, 540, 0.06)
    row = result.rate("own", "good")
    assert row.verdict == "equivalent"
    assert (row.decided_share, row.decided.n) == (0.1, 60)
    (said,) = (verdict.line for verdict in brief(result, str(tmp_path)).verdicts)
    assert "60 of the pairs are decided (10.0\xa0%), in 60 prompts: it wins 90.0\xa0% [" in said
    assert "most pairs tie" in said
    assert "no winning rate is further than 5.0\xa0% from one half" in said


@pytest.mark.parametrize(("ties", "margin"), [(540, 0.02), (0, 0.06), (540, None)])
def test_a_margin_that_is_small_beside_what_is_decided_needs_no_word(tmp_path, ties, margin):
    result = contest(tmp_path, 54, 6, ties, margin)
    (said,) = (verdict.line for verdict in brief(result, str(tmp_path)).verdicts)
    assert "most pairs tie" not in said


def test_the_decided_share_stands_beside_each_rate(tmp_path):
    result = contest(tmp_path, 54, 6, 40, None)
    (row,) = tables.winning_rates(result).groups[0].rows
    assert row[4] == f"60.0\xa0%: {words.plain_rate(result.rate('own', 'good').decided)}"
    assert category_words.decided_text(1.0, result.rate("own", "good").decided) == "all"
    assert category_words.decided_text(0.0, result.rate("own", "good").decided) == "none"


@pytest.mark.slow
@pytest.mark.parametrize("m", [20, 100])
@pytest.mark.parametrize("seeds", [1, 4])
@pytest.mark.parametrize("ties", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("rate", [0.5, 0.8, 0.95])
def test_wins_among_the_decided_are_covered(m, seeds, ties, rate):
    """93 % or more of 500 repeats that have any decided pair; prompts have effects of their own."""
    rng = np.random.default_rng([m, seeds, int(10 * ties), int(100 * rate)])
    prompts, covered = np.repeat(np.arange(m), seeds), []
    for _ in range(500):
        chance = rng.beta(4 * rate, 4 * (1 - rate), (m, 1))
        won = rng.random((m, seeds)) < chance
        found = decided_rate(np.where(rng.random(won.shape) < ties, 0.5, won).ravel(), prompts)
        if found.low is not None:
            covered.append(found.low <= rate <= found.high)
    print(f"{m} prompts, {seeds} seeds, {ties} ties, {rate}: {np.mean(covered):.3f}, 0.95")
    assert np.mean(covered) >= 0.93 - 0.02  # two standard errors of the simulation
