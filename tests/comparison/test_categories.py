"""Categories: whether they differ, as a sample, one left out, and their shrunken rates."""

import numpy as np
import pytest
from scipy import stats

from harness.comparison import categories, load_comparison
from harness.comparison.categories import (
    by_prompt,
    check_population,
    clustered_mean,
    clustered_rate,
    heterogeneity_p,
    jackknife_variance,
    shrunken_rates,
)
from harness.comparison.decisions import verdict
from harness.comparison.statistics import sign_flip_p, winning_rate
from harness.core.errors import HarnessError
from harness.store.comparison_tables import POPULATIONS
from tests.comparison.category_runs import contest


def some(sizes: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Shares of wins and categories of prompts, categories of these sizes."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 9, sum(sizes)) / 8, np.repeat(np.arange(len(sizes)), sizes)


def test_equal_sizes_are_students_t_on_the_categories_means():
    shares, places = some([30] * 6)
    means = shares.reshape(6, 30).mean(1)
    assert jackknife_variance(shares, places) == pytest.approx(means.var(ddof=1) / 6)
    found = clustered_mean(shares, np.arange(180), places)
    low, high = stats.t.interval(0.95, 5, means.mean(), stats.sem(means))
    assert (found.low, found.high, found.n) == (pytest.approx(low), pytest.approx(high), 6)


def test_the_clustered_rate_is_the_same_rate_with_an_interval_over_categories():
    shares, places = some([40, 20, 30, 25, 35, 60])
    found, p, how = clustered_rate(shares, np.arange(len(shares)), places)
    plain = winning_rate(shares, np.arange(len(shares)))
    assert found.value == plain.value == pytest.approx(shares.mean())
    error = np.sqrt(jackknife_variance(shares, places))
    assert found.high - found.low == pytest.approx(2 * stats.t.ppf(0.975, 5) * error, rel=0.1)
    assert p == pytest.approx(2 * stats.t.sf(abs(found.value - 0.5) / error, 5), abs=0.1)
    assert "over categories" in how


def test_where_all_is_won_categories_are_what_is_counted():
    """As of so many prompts that are all won: nothing is known of other categories."""
    places = np.repeat(np.arange(6), 50)
    found, p, _ = clustered_rate(np.ones(300), np.arange(300), places)
    six = winning_rate(np.ones(6), np.arange(6))
    assert (found.low, found.high) == (pytest.approx(six.low), 1)
    assert p == pytest.approx(2 * stats.t.sf(np.sqrt(6), 5))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_few_categories_and_prompts_without_one_have_no_interval(count):
    shares, places = some([20] * count)
    found, p, why = clustered_rate(shares, np.arange(len(shares)), places)
    assert (found.ends, p, verdict(found, p)) == (None, None, "undefined")
    assert found.reason == why
    assert "takes 5 or more" in why
    shares, places = some([20] * 6)
    places[3] = -1
    found, p, why = clustered_rate(shares, np.arange(len(shares)), places)
    assert (found.ends, p, why) == (None, None, "some prompts have no category")


def test_one_category_has_no_test():
    shares, places = some([50])
    assert heterogeneity_p(shares, places) == (None, "fewer than two categories")
    assert heterogeneity_p(np.zeros(0), np.zeros(0, int))[0] is None
    each = np.arange(50)
    assert heterogeneity_p(shares, each) == (None, "one prompt a category")
    assert shrunken_rates(shares, places)[0].reason == "fewer than three categories"
    assert shrunken_rates(shares, each)[0].reason == "one prompt a category"
    alike, threes = np.array([1.0, 1, 0, 0, 0.5]), np.array([0, 0, 1, 1, 2])
    assert {found.value for found in shrunken_rates(alike, threes)} == {None}
    assert "each category" in str(shrunken_rates(alike, threes)[0].reason)


def test_the_p_value_is_the_share_of_all_permutations_as_extreme():
    """Two categories of three prompts, twenty ways to divide them, counted by hand."""
    from itertools import combinations

    shares, places = np.array([0, 0.1, 0.3, 0.5, 0.8, 1.0]), np.repeat([0, 1], 3)

    def q(chosen):
        inside = np.isin(np.arange(6), chosen)
        groups = [shares[inside], shares[~inside]]
        squares = [((g - g.mean()) ** 2).sum() for g in groups]
        errors = [(s + sum(squares) / 4) / 3 / 3 for s in squares]
        means = [g.mean() for g in groups]
        return (means[0] - means[1]) ** 2 / sum(errors)  # of two, Cochran's Q

    every = [q(chosen) for chosen in combinations(range(6), 3)]
    expected = np.mean(np.array(every) >= q((0, 1, 2)) - 1e-9)
    assert heterogeneity_p(shares, places)[0] == pytest.approx(expected, abs=0.01)


def test_many_prompts_agree_with_cochrans_q():
    rng = np.random.default_rng(3)
    places = np.repeat(np.arange(5), 400)
    shares = (rng.random(2000) < 0.47 + 0.03 * places / 4).astype(float)
    means = shares.reshape(5, 400).mean(1)
    q = ((means - means.mean()) ** 2 / (means * (1 - means) / 400)).sum()
    found, _ = heterogeneity_p(shares, places)
    assert found == pytest.approx(stats.chi2.sf(q, 4), abs=0.03)


def test_neither_the_order_of_prompts_nor_the_names_of_categories_matter():
    shares, places = some([12, 30, 7, 20, 16])
    order = np.random.default_rng(1).permutation(len(shares))
    renamed = np.array([3, 17, 4, 90, 8])[places]
    p = heterogeneity_p(shares, places)[0]
    assert p == heterogeneity_p(shares[order], places[order])[0]
    assert 0.01 < p < 1
    assert shrunken_rates(shares, places)[1].value == pytest.approx(
        shrunken_rates(shares[order], places[order])[1].value
    )
    once, again = (
        clustered_rate(shares[o], np.arange(len(shares))[o], c[o])[0]
        for o, c in ((order, renamed), (np.arange(len(shares)), places))
    )
    assert (once.low, once.high) == pytest.approx((again.low, again.high))


def test_equal_categories_are_shrunken_to_their_mean_and_do_not_differ():
    shares, places = np.tile([0, 0.5, 0.5, 1, 1], 24), np.repeat(np.arange(6), 20)
    found = shrunken_rates(shares, places)
    assert [one.value for one in found] == pytest.approx([0.6] * 6)
    assert all(one.low < 0.6 < one.high for one in found)
    assert heterogeneity_p(shares, places)[0] == 1
    alike = shrunken_rates(np.ones(60), np.repeat(np.arange(6), 10))
    assert (alike[0].value, alike[0].reason) == (None, "all prompts have the same outcomes")


def test_far_apart_categories_keep_their_rates_and_noisy_ones_do_not():
    rng = np.random.default_rng(0)
    places = np.repeat(np.arange(5), 400)
    truth = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    shares = (rng.random(2000) < truth[places]).astype(float)
    means = shares.reshape(5, 400).mean(1)
    found = shrunken_rates(shares, places)
    assert [one.value for one in found] == pytest.approx(list(means), abs=0.006)
    few, places = some([6] * 5, 2)
    own, drawn = few.reshape(5, 6).mean(1), [one.value for one in shrunken_rates(few, places)]
    assert np.ptp(drawn) < 0.6 * np.ptp(own)
    assert (np.argsort(drawn) == np.argsort(own)).all()


def test_seeds_of_a_prompt_are_averaged_first():
    outcomes, prompts = np.array([1, 0, 1, 1, 0.5]), np.array([7, 7, 2, 2, 4])
    shares, places = by_prompt(outcomes, prompts, np.array([1, 1, 0, 0, -1]))
    assert (shares.tolist(), places.tolist()) == ([1, 0.5], [0, 1])


def test_the_category_that_a_verdict_rests_on_is_named(tmp_path):
    result = contest(tmp_path, list("abcdef"), "c")
    row = result.rate("own", "good")
    assert row.verdict == "loses"
    assert row.heterogeneity_p == pytest.approx(1 / 10_001)
    assert row.clustered.n == 6
    assert row.clustered.value == row.winning_rate.value
    assert row.clustered.high > row.winning_rate.high
    assert [part.category for part in result.changing("own", "good")] == ["c"]
    parts = {part.category: part for part in result.by_category("own", "good")}
    assert parts["c"].without_verdict == "undecided"
    others = result.pairs[result.pairs["category"] != "c"]
    assert parts["c"].without.value == pytest.approx(others["outcome"].mean())
    assert parts["c"].without.n == 100
    assert parts["c"].shrunken.value == pytest.approx(0, abs=0.05)
    assert parts["a"].heterogeneity_p is None
    assert load_comparison(str(tmp_path / "a")).results == result.results


def test_a_declared_population_of_categories_decides(tmp_path):
    own = contest(tmp_path / "x", list("abcdef"), "c")
    wide = contest(tmp_path / "y", list("abcdef"), "c", population="categories")
    a, b = own.rate("own", "good"), wide.rate("own", "good")
    assert (a.verdict, b.verdict) == ("loses", "undecided")
    assert a.winning_rate.value == b.winning_rate.value
    assert (b.winning_rate.low, b.p_value) == (b.clustered.low, b.clustered_p)
    assert (b.winning_rate.n, b.p_method) == (120, "score test over categories")
    assert b.difference.high - b.difference.low > a.difference.high - a.difference.low
    parts = [[part.winning_rate for part in one.by_category("own", "good")] for one in (own, wide)]
    assert parts[0] == parts[1]
    assert load_comparison(str(tmp_path / "y/a")).population == "categories"


def test_of_five_categories_one_can_be_left_out(tmp_path):
    result = contest(tmp_path, list("abcde"), "c", population="categories")
    assert all(part.without.ends for part in result.by_category("own", "good"))


@pytest.mark.parametrize(
    ("names", "more", "message"),
    [
        ("abcd", {"population": "categories"}, "takes 5 or more, and there are 4"),
        ("abcde", {"population": "category"}, "did you mean 'categories'"),
        ("abcde", {"population": "categories", "noise_key": "seed"}, "noise_key=prompt"),
    ],
)
def test_populations_that_cannot_be_are_refused(tmp_path, names, more, message):
    with pytest.raises(HarnessError, match=message):
        contest(tmp_path, list(names), **more)


def test_prompts_without_a_category_are_no_sample_of_categories():
    check_population("categories", list("abcde"), "prompt", POPULATIONS)
    check_population("prompts", [""], "seed", POPULATIONS)
    for names in ([*"abcdef", ""], [""]):
        with pytest.raises(HarnessError, match=r"no category|there are none"):
            check_population("categories", names, "prompt", POPULATIONS)


def test_shared_noise_has_no_test_of_categories(tmp_path):
    row = contest(tmp_path, list("abcde"), noise_key="seed").rate("own", "good")
    assert (row.heterogeneity_p, row.clustered.ends, row.clustered_p) == (None, None, None)
    assert row.heterogeneity_method == "prompts share their noise"


def correlated(
    sizes: list[int], seeds: int, share: float, ties: float, seed: int, repeats: int
) -> tuple[float, float]:
    """False verdicts over prompts and over categories, of a candidate that is no better.

    `share` is the part of an outcome's variance, on the normal scale, that a category's prompts
    have in common; a prompt's seeds have another sixth.
    """
    rng = np.random.default_rng(seed)
    places = np.repeat(np.arange(len(sizes)), sizes)
    prompts = np.repeat(np.arange(len(places)), seeds)
    before = after = 0
    for _ in range(repeats):
        level = np.sqrt(share) * rng.normal(size=len(sizes))[places][:, None]
        own = np.sqrt(0.2) * rng.normal(size=(len(places), 1))
        noise = rng.normal(size=(len(places), seeds))
        outcome = (level + own + noise > 0).astype(float)
        outcome[rng.random(outcome.shape) < ties] = 0.5
        flat = outcome.ravel()
        plain = verdict(winning_rate(flat, prompts), sign_flip_p(flat, prompts)[0])
        rate, p, _ = clustered_rate(flat, prompts, places[prompts])
        before += plain in ("wins", "loses")
        after += verdict(rate, p) in ("wins", "loses")
    return before / repeats, after / repeats


DRAWBENCH = [25, 10, 20, 22, 7, 10, 10, 20, 10, 20, 18]


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[60] * 5, [30] * 7, [20] * 11, DRAWBENCH, [100, 50, 50, 30, 20]])
@pytest.mark.parametrize(("seeds", "share", "ties"), [(1, 0.05, 0), (4, 0.3, 0), (4, 0.1, 0.8)])
def test_false_verdicts_where_categories_are_a_sample(sizes, seeds, share, ties):
    """At most 7 % over categories, where over prompts it is up to 60 %."""
    before, after = correlated(sizes, seeds, share, ties, len(sizes) + seeds, 600)
    print(f"{sizes}, {seeds} seeds, {share} shared, {ties} ties: {before:.3f} -> {after:.3f}, 0.05")
    assert after <= 0.05 + 0.02  # two standard errors of the simulation
    assert before > max(0.06, after)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes", [[60] * 5, [12] * 5, [5, 10, 20, 40, 11, 19, 7], [4] * 5, [10, 50]]
)
@pytest.mark.parametrize(("seeds", "ties"), [(1, 0.0), (4, 0.8), (4, 0.95), (4, None)])
def test_size_of_the_test_for_heterogeneity(sizes, seeds, ties, monkeypatch):
    """At most 6 %, with heavy ties, few prompts, and ties that differ by category (None).

    A known weakness is where such ties meet four prompts a category: up to 13 %.
    """
    monkeypatch.setattr("harness.comparison.categories._DRAWS", 199)
    rng = np.random.default_rng([sum(sizes), seeds, 1])
    places = np.repeat(np.arange(len(sizes)), sizes)
    tied = np.linspace(0.2, 0.95, len(sizes))[places][:, None] if ties is None else ties
    found = 0
    for _ in range(800):
        won = rng.random((len(places), seeds)) < rng.beta(2, 2, (len(places), 1))
        outcome = np.where(rng.random(won.shape) < tied, 0.5, won)
        found += heterogeneity_p(outcome.mean(1), places)[0] <= 0.05
    print(f"{sizes}, {seeds} seeds, ties {ties}: {found / 800:.3f}, 0.05")
    few = ties is None and sizes[0] == 4
    assert found / 800 <= (0.13 if few else 0.06) + 0.016  # two standard errors of the simulation


@pytest.mark.slow
def test_power_of_the_test_for_heterogeneity(monkeypatch):
    """One of five categories, of 60 prompts, is lost in 42 % of pairs: found in nearly all of 300.

    81 % of pairs tie and four seeds are alike, as of the shapes that are published.
    """
    monkeypatch.setattr("harness.comparison.categories._DRAWS", 400)
    rng, places, found = np.random.default_rng(0), np.repeat(np.arange(5), 60), 0
    balance = np.array([0.0, 0.0, -0.16, 0.0, 0.0])[places][:, None]
    for _ in range(300):
        own = rng.beta(1, 4, (300, 1))
        draw = rng.random((300, 4))
        lost, won = own * 0.475 - balance / 2, own * 0.475 + balance / 2
        outcome = np.select([draw < lost, draw > 1 - won], [0.0, 1.0], 0.5)
        found += heterogeneity_p(outcome.mean(1), places)[0] <= 0.05
    print(f"power: {found / 300:.3f}")
    assert found / 300 >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[60] * 5, [12] * 5, [20] * 3, [18] * 11, DRAWBENCH])
@pytest.mark.parametrize(("seeds", "ties"), [(1, 0.0), (4, 0.8)])
@pytest.mark.parametrize("spread", [0.0, 0.03, 0.1, 0.2])
def test_shrunken_rates_are_covered(sizes, seeds, ties, spread):
    """93 % or more of the categories' true rates, over 250 repeats."""
    rng = np.random.default_rng([len(sizes), seeds, int(100 * spread)])
    places, covered = np.repeat(np.arange(len(sizes)), sizes), []
    for _ in range(250):
        rate = np.clip(0.5 + spread * rng.normal(size=len(sizes)), 0.02, 0.98)
        chance = rng.beta(4 * rate[places], 4 * (1 - rate[places]))[:, None]
        won = rng.random((len(places), seeds)) < chance
        outcome = np.where(rng.random(won.shape) < ties, 0.5, won)
        truth = ties / 2 + (1 - ties) * rate
        found = shrunken_rates(outcome.mean(1), places)
        covered += [one.low <= t <= one.high for one, t in zip(found, truth, strict=True)]
    share = np.mean(covered)
    print(f"{sizes}, {seeds} seeds, {ties} ties, spread {spread}: {share:.3f}, 0.95")
    assert share >= 0.93 - 0.015


def test_drawing_counts_has_the_law_of_permuting():
    """Sums over categories: equal means and deviations, within 4 errors of 10,000 draws each."""
    random = np.random.default_rng(0)
    shares = random.choice([0, 0.25, 0.5, 1], 60, p=[0.1, 0.3, 0.4, 0.2])
    sizes = np.array([10, 20, 30])
    permuted = np.concatenate(
        [drawn[0] for drawn in categories._permuted(shares, sizes, random)], axis=0
    )
    counted, squares = categories._drawn_by_counts(shares, sizes, random)
    assert np.allclose(counted.sum(1), shares.sum())
    assert np.allclose(squares.sum(1), (shares**2).sum())
    spread = permuted.std(0)
    assert (abs(counted.mean(0) - permuted.mean(0)) < 4 * 1.5 * spread / 100).all()
    assert (abs(counted.std(0) / spread - 1) < 4 * 1.5 / np.sqrt(2 * 10_000)).all()


def test_many_prompts_whose_categories_differ_are_found(monkeypatch):
    monkeypatch.setattr(categories, "_MANY", 0)
    random = np.random.default_rng(1)
    places = np.repeat(np.arange(5), 200)
    alike = random.choice([0, 0.5, 1], 1000)
    apart = np.where(places == 0, random.choice([0.5, 1], 1000), alike)
    assert heterogeneity_p(alike, places)[0] > 0.01
    assert heterogeneity_p(apart, places)[0] == pytest.approx(1 / 10_001)
