"""Looks at a sample that grows: counted beside the runs, and paid for where a plan is declared."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.comparison import MetricInfo, compare
from harness.comparison.alpha_spending import level_at, spent
from harness.comparison.decisions import verdict
from harness.comparison.sequential import verdict_at, with_looks
from harness.comparison.statistics import sign_flip_p, winning_rate
from harness.core.call import Call
from harness.reporting import look_words, write_report
from harness.reporting.comparison_page import full
from harness.store.comparison_tables import ComparisonTables, Primary, load_comparison
from harness.store.looks import LogEntry, Look, log_looks
from harness.store.run import Run
from tests.comparison.synthetic_runs import Item, make_run

GOOD, OTHER = MetricInfo("good", "higher"), MetricInfo("other", "higher")


def test_levels_are_the_known_ones_of_four_equal_looks():
    """The bounds that group-sequential software (ldbounds, gsDesign) prints for such spending."""
    shares = [0.25, 0.5, 0.75, 1.0]
    bounds = [stats.norm.isf(level_at(shares[: k + 1]) / 2) for k in range(4)]
    assert bounds == pytest.approx([4.3326, 2.9631, 2.3590, 2.0141], abs=2e-3)
    assert (spent(1.0), level_at([1.0]), level_at([1.3])) == pytest.approx((0.05, 0.05, 0.05))


def test_a_look_beyond_the_plan_or_at_next_to_nothing_has_no_level():
    assert level_at([1.0, 1.5]) == 0
    assert level_at([0.02]) == 0
    assert level_at([0.02, 1.0]) == pytest.approx(0.05)


@pytest.fixture
def runs(tmp_path) -> tuple[Run, Run]:
    """Two runs of 40 prompts at 4 seeds; the first is better on both metrics at all of them."""

    def run(name: str, gain: float) -> Run:
        items = [
            Item(f"p{i}", s, {"good": gain + i, "other": gain + i})
            for s in range(4)
            for i in range(40)
        ]
        return make_run(str(tmp_path / name), items, Call(name, {"steps": 3}))

    return run("a", 0.5), run("b", 0.0)


def seeds(count: int) -> list[str]:
    return [f"p{i}/{s}" for i in range(40) for s in range(count)]


def looked(
    runs: tuple[Run, Run], count: int, *, planned: int | None = None, **more: object
) -> ComparisonTables:
    a, b = runs
    options: dict = {"metrics": [GOOD], "out": a.path, "baselines": {"own": b}, **more}
    finish = partial(with_looks, planned=planned)
    return compare(a, items=seeds(count), finish=finish, **options)


def test_looks_are_counted_and_the_same_pairs_are_no_new_one(runs, tmp_path):
    numbers = [looked(runs, count).look("own", "good").number for count in (1, 2, 2, 1, 3)]
    assert numbers == [1, 2, 2, 1, 3]
    elsewhere = looked(runs, 4, out=str(tmp_path / "out"))
    assert elsewhere.look("own", "good").number == 4
    assert elsewhere.decided("own").verdict == "wins"  # nobody is hindered
    log = [json.loads(path.read_text()) for path in (tmp_path / "a/looks").glob("*.json")]
    assert sorted(len(entries) for entries in log) == [1, 1, 1, 1]
    assert {entry["images"] for (entry,) in log} == {40, 80, 120, 160}
    assert set(log[0][0]) == {"question", "hash", "images", "pairs", "p_value", "number"}


def test_another_metric_or_baseline_or_setting_is_another_question(runs, tmp_path):
    a, b = runs
    looked(runs, 1)
    both = looked(runs, 2, metrics=[GOOD, OTHER])
    assert [both.look("own", name).number for name in ("good", "other")] == [2, 1]
    c = make_run(str(tmp_path / "c"), [Item(f"p{i}", 0, {"good": 0.0}) for i in range(40)])
    assert looked((a, c), 1).look("own", "good").number == 1
    plain = looked(runs, 3, baselines={b.spec.run_id: b})
    assert plain.look(b.spec.run_id, "good").number == 3  # the same two runs as own
    matched = looked(runs, 1, baselines={"own": b, "matched cost": c})
    assert matched.look("matched cost", "good").number == 1


def test_reports_say_which_look_it_is(runs, tmp_path):
    looked(runs, 1)
    first = full(load_comparison(runs[0].path), runs[0].path)
    assert "look" not in first.title + first.verdicts[0].line
    looked(runs, 2)
    third = looked(runs, 3)
    page = full(load_comparison(runs[0].path), runs[0].path)
    assert page.title.endswith("(third look, p not corrected)")
    assert "Third look, p not corrected. The same was compared before" in page.verdicts[0].line
    write_report(third, runs[0].path)
    assert "third look, p not corrected" in (tmp_path / "a/report.md").read_text()


def test_two_commands_at_once_leave_a_log_that_is_whole(tmp_path):
    def log(number: int) -> int:
        entry = LogEntry(("b", "good"), f"{number % 20}", number % 20, 9, 0.5)
        return log_looks(str(tmp_path), [entry])[0][-1].number

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(log, range(60)))
    assert 1 in numbers
    (entries,) = log_looks(str(tmp_path), [LogEntry(("b", "good"), "last", 99, 9, 0.5)])
    assert (len(entries), entries[-1].number) == (21, 21)
    assert not [path for path in (tmp_path / "looks").iterdir() if path.name.startswith(".")]


def test_a_log_that_cannot_be_read_hinders_nothing(runs):
    looked(runs, 1)
    (log,) = Path(runs[0].path, "looks").glob("*.json")
    log.write_text("{")
    second = looked(runs, 2)
    assert second.decided("own").verdict == "wins"
    assert second.look("own", "good").number is None
    said = look_words.sentence(second.look("own", "good"))
    assert said.startswith("Looks could not be counted: ")
    assert "is damaged" in said


def test_the_declared_result_goes_by_the_level_of_its_look(runs):
    primary = {"primary": Primary("good", "own"), "metrics": [GOOD, OTHER]}
    early = looked(runs, 1, planned=1600, **primary)
    assert (early.decided("own").verdict, early.rate("own", "other").verdict) == (
        "undecided",
        "wins",
    )
    assert early.look("own", "good").level == 0
    assert "too few of the 1,600 images declared" in look_words.short(early.look("own", "good"))
    half = looked(runs, 2, planned=160, **primary)
    assert half.look("own", "good").level == pytest.approx(level_at([0.25, 0.5]))
    assert half.decided("own").verdict == "wins"  # p of 40 wins in 40
    title = full(half, runs[0].path).title
    assert title.endswith("(second look at 80 of 160 images declared: p < 0.003 decides)")
    whole = looked(runs, 4, planned=160, **primary)
    assert whole.look("own", "good").level == pytest.approx(level_at([0.25, 0.5, 1.0]))
    looked(runs, 3, planned=120, **primary)
    beyond = looked(runs, 4, planned=120, **primary)
    assert beyond.decided("own").verdict == "undecided"
    assert "beyond the 120 images declared" in look_words.short(beyond.look("own", "good"))


def test_the_first_look_at_all_of_the_plan_is_as_ever(runs):
    plain = compare(runs[0], {"own": runs[1]}, [GOOD], runs[0].path)
    declared = looked(runs, 4, planned=160, primary=Primary("good", "own"))
    assert declared.decided("own") == replace(plain.decided("own"), role="primary")
    assert look_words.short(declared.look("own", "good")) == ""


def test_words_of_many_looks():
    assert look_words.short(Look("own", "good", 12, 100)) == "number 12 look, p not corrected"


SEEDS, PROMPTS = (2, 3, 4, 6, 8, 12, 16), tuple(range(20, 201, 12))


def false_verdicts(draws, looks: int, repeats: int = 500) -> tuple[float, float]:
    """Shares of false verdicts at any of the looks, in percent: at 5 % each, and at the levels.

    `draws(repeat)` are the outcomes and prompts of each look, and its share of the plan.
    """
    wrong = [0, 0]
    levels: dict[tuple[float, ...], float] = {}
    for repeat in range(repeats):
        shares: list[float] = []
        plain = spending = False
        for outcomes, prompts, share in draws(repeat):
            shares.append(share)
            level = levels.setdefault(tuple(shares), 0) or level_at(shares)
            levels[tuple(shares)] = level
            p_value = sign_flip_p(outcomes, prompts)[0]
            found = verdict(winning_rate(outcomes, prompts), p_value)
            plain |= found in ("wins", "loses")
            if found != "undecided":
                spending |= verdict_at(level, outcomes, prompts, p_value, None) != "undecided"
        assert len(shares) == looks
        wrong[0] += plain
        wrong[1] += spending
    return 100 * wrong[0] / repeats, 100 * wrong[1] / repeats


def outcomes(chance: np.ndarray, tied: float, rng: np.random.Generator, s: int) -> np.ndarray:
    draw = (rng.random((len(chance), s)) < chance[:, None]).astype(float)
    return np.where(rng.random(draw.shape) < tied, 0.5, draw)


@pytest.mark.slow
@pytest.mark.parametrize("looks", [3, 7])
@pytest.mark.parametrize("spread", [0.0, 0.2])
@pytest.mark.parametrize("tied", [0.0, 0.6])
def test_more_and_more_seeds(looks, spread, tied):
    """Uncorrected 7 to 20 % are false; with a plan at most 5 %, and 2 standard errors of 500."""

    def draws(repeat: int):
        rng = np.random.default_rng([repeat, looks, int(10 * spread), int(10 * tied)])
        share = 1 / spread - 1 if spread else 0
        chance = rng.beta(share / 2, share / 2, 60) if spread else np.full(60, 0.5)
        every = outcomes(chance, tied, rng, SEEDS[looks - 1])
        for s in SEEDS[:looks]:
            yield every[:, :s].ravel(), np.repeat(np.arange(60), s), s / SEEDS[looks - 1]

    plain, spending = false_verdicts(draws, looks)
    assert plain >= 6
    assert spending <= 7


@pytest.mark.slow
@pytest.mark.parametrize("s", [1, 4])
@pytest.mark.parametrize("spread", [0.0, 0.2])
def test_more_and_more_prompts(s, spread):
    """Uncorrected 13 to 20 % are false after 16 looks; with a plan at most 5 %."""

    def draws(repeat: int):
        rng = np.random.default_rng([repeat, s, int(10 * spread)])
        share = 1 / spread - 1 if spread else 0
        chance = rng.beta(share / 2, share / 2, 200) if spread else np.full(200, 0.5)
        every = outcomes(chance, 0.3, rng, s)
        for m in PROMPTS:
            yield every[:m].ravel(), np.repeat(np.arange(m), s), m / PROMPTS[-1]

    plain, spending = false_verdicts(draws, len(PROMPTS))
    assert plain >= 12
    assert spending <= 7
