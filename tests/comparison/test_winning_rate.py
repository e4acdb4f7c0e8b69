import numpy as np
import pytest
from scipy import special, stats
from statsmodels.stats.proportion import proportion_confint

from harness.comparison.decisions import verdict
from harness.comparison.score_test import ScoreTest, coin_flips
from harness.comparison.statistics import mean, prompt_means, sign_flip_p, winning_rate


def codes(m: int, seeds: int = 1) -> np.ndarray:
    return np.repeat(np.arange(m), seeds)


def test_the_rate_is_a_mean_over_prompts_with_ties_one_half():
    outcome = np.array([1, 1, 1, 0, 0.5, 0.5])
    prompts = np.array([0, 0, 0, 1, 2, 2])
    assert winning_rate(outcome, prompts).value == pytest.approx((1 + 0 + 0.5) / 3)
    means, counts = prompt_means(outcome, prompts)
    assert means.tolist() == [1, 0, 0.5]
    assert counts.tolist() == [3, 1, 2]


def test_one_seed_without_ties_is_wilson_on_the_prompts():
    """With many prompts Student's quantile is the normal one, and n the number of prompts."""
    outcome = np.repeat([1.0, 0.0], [1300, 700])
    found = winning_rate(outcome, codes(2000))
    low, high = proportion_confint(1300, 2000, 0.05, "wilson")
    assert found.effective == pytest.approx(2000, rel=2e-3)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("m", [2, 5, 50])
@pytest.mark.parametrize("seeds", [1, 4])
def test_all_wins_and_all_losses_leave_an_interval_that_narrows_with_prompts(value, m, seeds):
    found = winning_rate(np.full(m * seeds, value), codes(m, seeds))
    t2 = stats.t.ppf(0.975, m - 1) ** 2
    width = t2 / (m + t2)  # Wilson at 0/n with n = prompts, however many seeds
    assert found.high - found.low == pytest.approx(width, rel=0.5 / m + 0.01)
    assert 0 <= found.low <= value <= found.high <= 1


def test_only_ties_say_little_and_never_decide():
    found = winning_rate(np.full(30, 0.5), codes(30))
    assert found.value == 0.5
    assert found.low < 0.5 < found.high
    assert sign_flip_p(np.full(30, 0.5), codes(30)) == (1.0, "exact")


def test_repeating_every_seed_does_not_shrink_the_interval():
    rng = np.random.default_rng(3)
    once = (rng.random(60) < 0.6).astype(float)
    one = winning_rate(once, codes(60))
    four = winning_rate(np.repeat(once, 4), codes(60, 4))
    assert (one.low, one.high) == pytest.approx((four.low, four.high))
    assert sign_flip_p(once, codes(60))[0] == pytest.approx(
        sign_flip_p(np.repeat(once, 4), codes(60, 4))[0]
    )
    a, b = mean(once, codes(60)), mean(np.repeat(once, 4), codes(60, 4))
    assert (a.low, a.high) == pytest.approx((b.low, b.high))


def test_independent_seeds_shrink_the_interval():
    rng = np.random.default_rng(4)
    four = (rng.random(400) < 0.5).astype(float)
    wide = winning_rate(four[::4], codes(100))
    narrow = winning_rate(four, codes(100, 4))
    assert (narrow.high - narrow.low) < 0.65 * (wide.high - wide.low)
    assert narrow.effective == pytest.approx(400, rel=0.3)


def test_wins_in_place_of_ties_raise_the_lower_end():
    outcome = np.full(80, 0.5)
    lows = []
    for k in range(19):
        outcome[4 * k : 4 * k + 4] = 1
        lows.append(winning_rate(outcome, codes(20, 4)).low)
    assert min(np.diff(lows)) > 0


def test_too_few_prompts_are_null_with_a_reason():
    none = np.array([])
    for estimate in (winning_rate, mean):
        empty = estimate(none, none.astype(int))
        assert (empty.value, empty.low, empty.n) == (None, None, 0)
        assert empty.reason
        one = estimate(np.array([1.0, 0.0]), np.array([0, 0]))
        assert (one.value, one.low, one.high, one.n) == (0.5, None, None, 1)
        assert "one prompt" in one.reason
    assert sign_flip_p(none, none.astype(int)) == (None, "no pairs")


@pytest.mark.parametrize(("wins", "losses"), [(9, 1), (60, 40), (5, 5), (140, 100)])
def test_one_seed_p_is_the_exact_sign_test(wins, losses):
    outcome = np.repeat([1.0, 0.0, 0.5], [wins, losses, 7])
    p, how = sign_flip_p(outcome, codes(len(outcome)))
    assert how == "exact"
    assert p == pytest.approx(stats.binomtest(wins, wins + losses).pvalue)


def test_p_equals_all_flips_counted_by_hand():
    rng = np.random.default_rng(8)
    prompts = np.repeat(np.arange(9), [1, 2, 3, 4, 4, 2, 3, 1, 2])
    outcome = rng.choice([0, 0.5, 1], len(prompts), p=[0.2, 0.2, 0.6])
    excess = prompt_means(outcome, prompts)[0] - 0.5
    signs = 1 - 2 * (np.arange(2**9)[:, None] >> np.arange(9) & 1)
    sums = np.abs(signs @ excess)
    assert sign_flip_p(outcome, prompts)[0] == pytest.approx(
        np.mean(sums >= abs(excess.sum()) - 1e-9)
    )


def test_drawn_p_agrees_with_the_exact_one_and_repeats():
    rng = np.random.default_rng(2)
    prompts = np.repeat(np.arange(60), rng.integers(1, 40, 60))  # too many denominators for exact
    outcome = (rng.random(len(prompts)) < 0.52).astype(float)
    p, how = sign_flip_p(outcome, prompts)
    assert how == "10,000 draws"
    assert sign_flip_p(outcome, prompts) == (p, how)
    excess = prompt_means(outcome, prompts)[0] - 0.5
    normal = 2 * stats.norm.sf(abs(excess.sum()) / np.sqrt((excess**2).sum()))
    assert p == pytest.approx(normal, abs=0.03)


def test_swapping_sides_mirrors_everything():
    rng = np.random.default_rng(5)
    outcome, prompts = rng.choice([0, 0.5, 1], 120), codes(40, 3)
    a, b = winning_rate(outcome, prompts), winning_rate(1 - outcome, prompts)
    assert (a.low, a.value, a.high) == pytest.approx((1 - b.high, 1 - b.value, 1 - b.low))
    assert sign_flip_p(outcome, prompts)[0] == pytest.approx(sign_flip_p(1 - outcome, prompts)[0])


def test_mean_is_students_t_over_prompts():
    values = np.random.default_rng(0).normal(size=90)
    found = mean(values, codes(30, 3))
    means = values.reshape(30, 3).mean(1)
    low, high = stats.t.interval(0.95, 29, means.mean(), stats.sem(means))
    assert (found.low, found.value, found.high) == pytest.approx((low, means.mean(), high))


def test_a_hundred_thousand_prompts_take_no_time():
    rng = np.random.default_rng(1)
    outcome = (rng.random(400_000) < 0.501).astype(float)
    p, _ = sign_flip_p(outcome, codes(100_000, 4))
    normal = 2 * stats.norm.sf(abs(outcome.mean() - 0.5) / (0.5 / np.sqrt(400_000)))
    assert p == pytest.approx(normal, abs=0.03)


def judged(wins: int, losses: int, m: int) -> tuple[float, float, float, str]:
    """Interval, p-value and verdict of m prompts at one seed; the others tie."""
    outcome = np.repeat([1.0, 0.0, 0.5], [wins, losses, m - wins - losses])
    found, p = winning_rate(outcome, codes(m)), sign_flip_p(outcome, codes(m))[0]
    return found.low, found.high, p, verdict(found, p)


def test_a_verdict_takes_the_interval_and_the_p_value():
    low, _, p, said = judged(5, 0, 160)
    assert low > 0.5
    assert p == pytest.approx(0.0625)
    assert said == "undecided"
    assert judged(0, 5, 160)[3] == "undecided"
    assert judged(6, 0, 160)[3] == "wins"
    assert judged(0, 6, 160)[3] == "loses"
    rng = np.random.default_rng(0)
    for _ in range(200):  # the p-value alone does not decide either
        outcome = rng.choice([0, 0.5, 1], (12, 4), p=[0.01, 0.8, 0.19]).ravel()
        found, p = winning_rate(outcome, codes(12, 4)), sign_flip_p(outcome, codes(12, 4))[0]
        assert verdict(found, p) == ("wins" if found.low > 0.5 and p < 0.05 else "undecided")
    assert verdict(winning_rate(np.array([1.0]), codes(1)), 1.0) == "undefined"


@pytest.mark.parametrize("m", [20, 50, 150, 300])
@pytest.mark.parametrize("losing", [0.0, 0.2, 0.5])
def test_few_prompts_that_differ_are_covered_exactly(m, losing):
    """One seed, a tie in most prompts, wins and losses one-sided or not: nothing is simulated.

    Differing prompts are a binomial number of 0.5 to 10 expected, in 50 and more prompts.
    """
    differ = [(n, wins) for n in range(min(m, 30) + 1) for wins in range(n + 1)]
    low, high = np.array([judged(wins, n - wins, m)[:2] for n, wins in differ]).T
    count, wins = np.array(differ).T
    for expected in (0.5, 1, 2, 3, 5, 10):
        chance = expected / m
        likely = stats.binom.pmf(count, m, chance) * stats.binom.pmf(wins, count, 1 - losing)
        assert likely.sum() == pytest.approx(1, abs=1e-6)
        truth = 0.5 + chance * (1 - 2 * losing) / 2
        assert likely[(low <= truth) & (truth <= high)].sum() >= 0.93


@pytest.mark.parametrize("m", [20, 50])
def test_false_verdicts_where_few_prompts_differ_exactly(m):
    """One seed, wins and losses alike and as rare as can be: at most 5 % are verdicts."""
    counts = [(n, wins) for n in range(m + 1) for wins in range(n + 1)]
    decided = np.array([judged(wins, n - wins, m)[3] != "undecided" for n, wins in counts])
    differ, wins = np.array(counts).T
    for chance in (0.02, 0.05, 0.1, 0.2, 0.5, 1):
        likely = stats.binom.pmf(differ, m, chance) * stats.binom.pmf(wins, differ, 0.5)
        assert likely.sum() == pytest.approx(1)
        assert likely[decided].sum() <= 0.05


def repeat(outcomes: np.ndarray, truth: float) -> tuple[float, float]:
    """Coverage and share of verdicts over repeats [R, m, seeds]."""
    m, seeds = outcomes.shape[1:]
    covered = verdicts = 0
    for outcome in outcomes.reshape(len(outcomes), -1):
        found, p = winning_rate(outcome, codes(m, seeds)), sign_flip_p(outcome, codes(m, seeds))[0]
        covered += found.low <= truth <= found.high
        verdicts += verdict(found, p) in ("wins", "loses")
    return covered / len(outcomes), verdicts / len(outcomes)


@pytest.mark.parametrize("wins", [0.0, 0.02, 0.3, 1.0])
@pytest.mark.parametrize("losses", [0.0, 0.1, 0.6])
def test_the_variance_is_that_of_the_most_likely_chances(wins, losses):
    """Against a search over all chances of win, tie and loss with the mean."""
    if wins + losses > 1:
        return
    test = ScoreTest(wins, losses, 0.01)
    for rate in (0.05, 0.45, 0.5, 0.57, 0.9):
        gap = 2 * rate - 1
        lost = np.linspace(max(0, -gap), (1 - gap) / 2, 400_001)
        chances = np.stack([lost + gap, 1 - gap - 2 * lost, lost])
        seen = np.array([wins, 1 - wins - losses, losses])[:, None]
        likelihood = special.xlogy(seen, np.maximum(chances, 0)).sum(0)
        best = chances[:, likelihood.argmax()]
        assert test.variance(rate) == pytest.approx((best[0] + best[2] - gap**2) / 4, abs=2e-6)


def test_further_rates_are_further_away():
    """So that the interval is where a search for its ends says."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        wins, _, losses = rng.dirichlet([rng.choice([0.05, 0.3, 1])] * 3)
        test = ScoreTest(wins, losses * (rng.random() < 0.7), 1 / rng.integers(2, 300))
        rates = np.linspace(0.001, 0.999, 200)
        away = np.array([test.distance(rate) for rate in rates])
        assert (np.diff(away[rates > test.value]) > -1e-9).all()
        assert (np.diff(away[rates < test.value]) < 1e-9).all()
        for end in test.interval(2.0):
            if 1e-6 < end < 1 - 1e-6:
                assert test.distance(end) == pytest.approx(2, rel=1e-6)


def test_coin_flips_have_the_width():
    for rate in (0, 0.2, 0.5, 1):
        for n in (0.5, 4, 1000):
            u = 4 / n
            width = 2 * np.sqrt(rate * (1 - rate) * u + u * u / 4) / (1 + u)
            assert coin_flips(rate, width, 2.0) == pytest.approx(n)


def test_means_of_several_outcomes_count_as_mixtures():
    """The average of a tie and a win in each prompt is narrower than either in half of them."""
    mixed = winning_rate(np.full(40, 0.75), codes(40))
    apart = winning_rate(np.tile([0.5, 1.0], 20), codes(40))
    assert mixed.value == apart.value == 0.75
    assert mixed.high - mixed.low < apart.high - apart.low
    rng = np.random.default_rng(6)
    items = rng.choice([0, 0.5, 1], (200, 4), p=[0.2, 0.3, 0.5])
    one, four = winning_rate(items.mean(1), codes(200)), winning_rate(items.ravel(), codes(200, 4))
    assert (one.low, one.high) == pytest.approx((four.low, four.high), abs=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("m", [20, 50])
@pytest.mark.parametrize("chance", [0.01, 0.02, 0.05, 0.1, 0.2])
def test_heavy_ties_and_rare_wins_at_four_seeds(m, chance):
    """Independent seeds: false verdicts at most 6 %; one-sided wins are covered in 93 %.

    So are wins at all seeds of few prompts, and at half of them.
    """
    rng = np.random.default_rng([m, int(1000 * chance)])
    draw = rng.random((1500, m, 4))
    _, verdicts = repeat(np.select([draw < chance / 2, draw < chance], [1.0, 0.0], 0.5), 0.5)
    assert verdicts <= 0.06
    won = rng.random((1500, m, 1)) < chance
    for part, wins in ((1, draw < chance), (1, won & (draw < 1)), (0.5, won & (draw < 0.5))):
        covered, _ = repeat(np.where(wins, 1.0, 0.5), 0.5 + part * chance / 2)
        assert covered >= 0.93 - 0.006  # a standard error of the simulation


@pytest.mark.slow
@pytest.mark.parametrize(("m", "share"), [(20, 0.1), (50, 0.05), (160, 0.02)])
def test_a_skewed_balance_is_the_worst_case(m, share):
    """A share of prompts is won at four seeds, four times as many are lost at one: rate one half.

    Below the nominal 95 %, as the docstring says: both bounds are those of this known weakness.
    """
    rng = np.random.default_rng(m)
    draw = rng.random((1500, m))
    outcomes = np.full((1500, m, 4), 0.5)
    outcomes[draw < share] = 1
    outcomes[(draw >= share) & (draw < 5 * share), 0] = 0
    covered, verdicts = repeat(outcomes, 0.5)
    assert 0.86 <= covered <= 0.945
    assert verdicts <= 0.14


@pytest.mark.slow
@pytest.mark.parametrize("m", [20, 50, 200])
@pytest.mark.parametrize("seeds", [1, 2, 4])
@pytest.mark.parametrize("spread", [0.0, 0.15, 0.3])
@pytest.mark.parametrize("tied", [0.0, 0.5])
def test_coverage_and_size(m, seeds, spread, tied):
    """95 % intervals cover in 93 to 97 % of 1,500 repeats, the p-value's size is at most 6 %.

    Prompt effects are Beta distributed with the given share of the variance. One seed is a discrete
    problem (m coin flips), where every honest interval is wider at times: 99 % are allowed there,
    as are 98.6 % near 1 with few prompts. The bounds leave two standard errors of the simulation.
    """
    rng = np.random.default_rng(1000 * m + 100 * seeds + int(10 * spread + tied))
    repeats, slack = 1500, 0.011
    for rate in (0.5, 0.75, 0.95):
        truth, covered, rejected = tied * 0.5 + (1 - tied) * rate, 0, 0
        for _ in range(repeats):
            share = 1 / spread - 1 if spread else None
            chance = rng.beta(rate * share, (1 - rate) * share, m) if share else np.full(m, rate)
            outcome = (rng.random((m, seeds)) < chance[:, None]).astype(float)
            outcome[rng.random((m, seeds)) < tied] = 0.5
            found = winning_rate(outcome.ravel(), codes(m, seeds))
            covered += found.low <= truth <= found.high
            if rate == 0.5:
                rejected += sign_flip_p(outcome.ravel(), codes(m, seeds))[0] <= 0.05
        discrete = seeds == 1 or (rate == 0.95 and m < 200)
        assert 0.93 - slack <= covered / repeats <= (0.99 if discrete else 0.97 + slack), rate
        assert rejected / repeats <= 0.05 + slack
