"""The best of several pictures of a cheaper run, as a rival."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from harness.comparison import ComparisonTables, MetricInfo, compare, load_comparison
from harness.comparison.best_of import Impossible, Rival, keep, tries
from harness.comparison.decisions import verdict
from harness.comparison.statistics import sign_flip_p, winning_rate
from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.outcome import outcome
from harness.store.comparison_tables import BEST_OF
from harness.store.run import Run
from harness.store.run_facts import Cost
from tests.comparison.synthetic_runs import Item, make_run

GOOD = MetricInfo("good", "higher", "Goodness")
ROUGH = MetricInfo("rough", "lower", "Roughness")
EYE = MetricInfo("eye", "higher", "Eye")


def scored(
    scores: NDArray[np.float64], eyes: NDArray[np.float64], failed: Sequence[tuple[int, int]] = ()
) -> list[Item]:
    """Items of scores [prompts, seeds] by the judge, and by the verifier."""
    return [
        Item(
            f"p{p}",
            s,
            {"good": float(scores[p, s]), "rough": float(-scores[p, s]), "eye": float(eyes[p, s])},
            category="even" if p % 2 else "odd",
            failed="blank" if (p, s) in failed else None,
        )
        for p, s in product(range(scores.shape[0]), range(scores.shape[1]))
    ]


def contest(
    folder: Path,
    a: list[Item],
    b: list[Item],
    nfe: tuple[int, int] = (47, 20),
    verifier: MetricInfo = EYE,
    **rival: object,
) -> ComparisonTables:
    """The candidate against a run, and against the best of several of its pictures."""
    runs = [
        make_run(str(folder / name), items, Call(name, {"steps": 10}), {"cond": n}, side=8)
        for name, items, n in (("zigzag", a, nfe[0]), ("ddim", b, nfe[1]))
    ]
    return compare(
        runs[0],
        {"own": runs[1]},
        [GOOD, ROUGH, EYE],
        str(folder / "zigzag"),
        rival=Rival(runs[1], verifier, {"eye": "eye is the verifier itself"}, **rival),  # type: ignore[arg-type]
    )


def draw(prompts: int, seeds: int, seed: int = 0) -> tuple[NDArray[np.float64], ...]:
    """Scores of a candidate, and of a run by judge and verifier, which half agree."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, prompts, seeds))
    return a, b, b + random.normal(size=b.shape)


def by_hand(a: NDArray[np.float64], b: NDArray[np.float64], eye: NDArray[np.float64], n: int):
    """Shares of wins by prompt, counted one pair at a time."""
    shares = []
    for p in range(len(a)):
        kept = [
            max(range(at, at + n), key=lambda s: (eye[p, s], -s))
            for at in range(0, b.shape[1] - n + 1, n)
        ]
        won = [float(x > b[p, s]) + 0.5 * float(x == b[p, s]) for x in a[p] for s in kept]
        shares.append(np.mean(won))
    return shares


def test_best_of_two_of_alike_pictures_beats_one_in_two_thirds(tmp_path: Path) -> None:
    """The judge's own order decides, by another name: the candidate is best of three alike."""
    a, b, _ = draw(400, 4)
    found = contest(tmp_path, scored(a, a), scored(b, b))
    row = found.rate(BEST_OF, "good")
    assert (row.pairs, row.winning_rate.n, row.seeds) == (400 * 4 * 2, 400, 4)
    assert row.winning_rate.value == pytest.approx(1 / 3, abs=0.03)
    low, high = row.winning_rate.ends or (1.0, 0.0)
    assert low < 1 / 3 < high
    assert (row.verdict, row.role) == ("loses", "exploratory")
    assert found.rate("own", "good").winning_rate.value == pytest.approx(1 / 2, abs=0.03)


@pytest.mark.parametrize(("nfe", "n"), [((40, 20), 2), ((47, 20), 2), ((60, 20), 3), ((79, 20), 3)])
def test_every_pair_counts_as_by_hand(nfe: tuple[int, int], n: int, tmp_path: Path) -> None:
    a, b, eye = draw(30, 7)
    found = contest(tmp_path, scored(a, a), scored(b, eye), nfe)
    choice = found.runs[BEST_OF].choice
    assert choice is not None
    assert (choice.n, choice.verifier, choice.left_over, choice.unranked) == (n, "eye", 30, 0)
    shares = by_hand(a, b, eye, n)
    for metric in ("good", "rough"):
        row = found.rate(BEST_OF, metric)
        assert row.winning_rate.value == pytest.approx(np.mean(shares))
        expected = winning_rate(np.array(shares), np.arange(30))
        assert row.winning_rate.value == pytest.approx(expected.value)
    pairs = found.pairs[found.pairs["comparison"] == BEST_OF]
    assert len(pairs) == 2 * 30 * 7 * (7 // n)
    assert set(pairs["metric"]) == {"good", "rough"}


def test_the_result_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    a, b, eye = draw(20, 4)
    b[:, 1], eye[:, 1] = b[:, 0] - 1, eye[:, 0]  # ties, which the lowest seed wins
    mixed = random.Random(1)
    rows = []
    for at in range(3):
        sides = [scored(a, a), scored(b, eye)]
        for side in sides * bool(at):
            mixed.shuffle(side)
        found = contest(tmp_path / f"{at}", *sides).rate(BEST_OF, "good")
        rows.append((found.winning_rate, found.p_value, found.wins, found.ties, found.losses))
    assert rows[0][0].value == pytest.approx(np.mean(by_hand(a, b, eye, 2)))
    assert rows[1][1:] == rows[2][1:] == rows[0][1:]
    for row in rows[1:]:
        assert row[0].value == pytest.approx(rows[0][0].value)
        assert row[0].ends == pytest.approx(rows[0][0].ends)


def items_of(*rows: tuple[str, int, float | None, str | None]) -> pd.DataFrame:
    columns = ["prompt_id", "seed", "value:eye", "failed"]
    return pd.DataFrame(rows, columns=columns).astype({"value:eye": float, "failed": "string"})


def chosen(frame: pd.DataFrame, n: int = 2, direction: str = "higher") -> list[tuple[str, int]]:
    rival = Rival(None, replace(EYE, direction=direction))  # type: ignore[arg-type]
    kept, _ = keep(frame, rival, n)
    return list(zip(kept["prompt_id"], kept["seed"], strict=True))


def test_of_equals_the_lowest_seed_is_kept_and_lower_may_be_better() -> None:
    frame = items_of(
        ("p", 3, 1.0, None), ("p", 2, 1.0, None), ("q", 9, 0.0, None), ("q", 4, 2.0, None)
    )
    assert chosen(frame) == [("p", 2), ("q", 4)]
    assert chosen(frame, direction="lower") == [("p", 2), ("q", 9)]


def test_a_failed_picture_is_kept_only_where_all_failed() -> None:
    frame = items_of(
        ("p", 0, 9.0, "blank"),
        ("p", 1, -9.0, None),
        ("q", 0, None, "blank"),
        ("q", 1, None, "blank"),
    )
    assert chosen(frame) == [("p", 1), ("q", 0)]


def test_groups_without_a_score_and_seeds_without_a_group_are_counted() -> None:
    rows = [("p", s, None if s < 2 else 1.0, None) for s in range(5)]
    kept, choice = keep(items_of(*rows, ("q", 0, 1.0, None)), Rival(None, EYE), 2)  # type: ignore[arg-type]
    assert kept["seed"].tolist() == [2]
    assert (choice.left_over, choice.unranked) == (2, 1)
    unscored = items_of(("p", 0, None, None), ("p", 1, None, "blank"))
    with pytest.raises(Impossible, match="Eye has no score of any picture"):
        chosen(unscored)
    with pytest.raises(Impossible, match="it takes 3 seeds a prompt, and there are 2"):
        chosen(unscored, 3)


def cost(nfe: float | None, macs: float | None = None, seconds: float | None = None) -> Cost:
    return Cost(nfe, 1, {}, seconds, 1, "cpu", macs)


def test_how_many_pictures_the_cost_pays_for() -> None:
    assert tries(cost(47), cost(20), "macs") == 2  # arithmetic is not known: by evaluations
    assert tries(cost(47, 9e9), cost(20, 3e9), "macs") == 3
    assert tries(cost(47, 9e9), cost(20, 3e9), "nfe") == 2
    assert tries(cost(47, 9e9, 0.3), cost(20, 3e9, 0.1), "seconds") == 3  # 2.9999... by floats
    with pytest.raises(
        Impossible,
        match=r"by evaluations, .*1\.95 times .*39 against 20 evaluations.*less than two",
    ):
        tries(cost(39), cost(20), "macs")
    for one, other in ((cost(None), cost(20)), (cost(20), cost(None)), (cost(1), cost(0))):
        with pytest.raises(Impossible, match="not known on both sides"):
            tries(one, other, "nfe")


def test_all_pictures_are_paid_for_and_the_choice_too(tmp_path: Path) -> None:
    a, b, eye = draw(6, 4)
    runs = []
    for name, values, by, nfe in (("zigzag", a, a, 47), ("ddim", b, eye, 20)):
        items = scored(values, by)
        run = make_run(
            str(tmp_path / name), items, Call(name, {}), {"c": nfe // 2, "u": nfe // 2}, 0.5, 8
        )
        run.set_cost({"picture": 1e9 * nfe, "evaluation": 1e9, "calls": 10})
        runs.append(run)

    def facts(macs: float | None, reason: str | None) -> Cost:
        rival = Rival(runs[1], EYE, {}, macs, reason)
        out = str(tmp_path / "out")
        compare(runs[0], {"own": runs[1]}, [GOOD], out, rival=rival)
        loaded = load_comparison(out).runs[BEST_OF]
        assert loaded.choice is not None
        assert (loaded.choice.macs, loaded.choice.reason) == (macs, reason)
        assert (loaded.images, loaded.path) == (12, runs[1].path)
        return loaded.cost

    known, unknown = facts(7e8, None), facts(None, "no weights")
    assert (known.nfe, known.nfe_images, known.seconds, known.calls) == (40, 24, 1.0, 20)
    assert known.nfe_by_branch == {"unet/c": 20, "unet/u": 20}
    assert (known.macs, unknown.macs) == (2 * (20e9 + 7e8), 2 * 20e9)


def test_who_must_not_judge_has_a_null_with_the_reason(tmp_path: Path) -> None:
    a, b, eye = draw(6, 4)
    found = contest(tmp_path, scored(a, a), scored(b, eye))
    row = found.rate(BEST_OF, "eye")
    assert (row.winning_rate.value, row.p_value, row.pairs, row.verdict) == (
        None,
        None,
        0,
        "undefined",
    )
    assert row.winning_rate.reason == "not judged: eye is the verifier itself"
    assert found.rate("own", "eye").pairs == 24
    loaded = load_comparison(str(tmp_path / "zigzag"))
    pd.testing.assert_frame_equal(loaded.rates, found.rates)
    assert loaded.runs == found.runs
    assert BEST_OF not in {mean.run for mean in found.means}


def test_what_cannot_be_compared_is_absent_with_the_reason(tmp_path: Path) -> None:
    a, b, eye = draw(5, 4)
    sides = scored(a, a), scored(b, eye)

    def absent(folder: str, *sides: list[Item], nfe: tuple[int, int] = (47, 20)) -> str:
        found = contest(tmp_path / folder, *sides, nfe)
        assert BEST_OF not in found.runs
        assert load_comparison(str(tmp_path / folder / "zigzag")).absent == found.absent
        return found.absent[BEST_OF]

    assert "less than two" in absent("dear", *sides, nfe=(20, 20))
    assert "takes 5 seeds a prompt, and there are 4" in absent("few", *sides, nfe=(100, 20))
    runs = [
        make_run(str(tmp_path / n), s, nfe={"c": e}, noise_key="seed", side=8)
        for n, s, e in zip("xy", sides, (40, 20), strict=True)
    ]
    shared = compare(
        runs[0], {"own": runs[1]}, [GOOD], str(tmp_path / "o"), rival=Rival(runs[1], EYE)
    )
    assert "share their noise" in shared.absent[BEST_OF]
    told = compare(runs[0], {"own": runs[1]}, [GOOD], str(tmp_path / "o"), rival="no weights")
    assert told.absent == {BEST_OF: "no weights"}


def test_a_run_without_the_verifiers_scores_is_refused(tmp_path: Path) -> None:
    runs = [make_run(str(tmp_path / n), [Item("p", 0, {"good": 1.0})], side=8) for n in "ab"]
    rival = Rival(runs[1], EYE)
    with pytest.raises(HarnessError, match="evaluate it first"):
        compare(runs[0], {"own": runs[1]}, [GOOD], str(tmp_path), rival=rival)
    with pytest.raises(HarnessError, match="cannot be called 'best of N'"):
        compare(runs[0], {BEST_OF: runs[1]}, [GOOD], str(tmp_path))
    assert isinstance(runs[0], Run)


def outcomes(
    rng: np.random.Generator, shape: tuple[int, int, int], tau: float, lead: float
) -> NDArray[np.float64]:
    """Outcomes [repetitions, prompts, seeds * groups] of one picture against the best of two.

    A prompt's lead of the candidate varies by `tau`; at one seed both pictures share four fifths of
    the variance, which is the noise; judge and verifier have half the variance in common.
    """
    repetitions, m, seeds = shape
    noise, one, other, eye = rng.normal(size=(4, repetitions, m, seeds))
    a = np.sqrt(0.8) * noise + np.sqrt(0.2) * one
    a += lead + tau * rng.normal(size=(repetitions, m, 1))
    b = np.sqrt(0.8) * noise + np.sqrt(0.2) * other
    groups = (repetitions, m, seeds // 2, 2)
    best = (b + eye).reshape(groups).argmax(-1)[..., None]
    kept = np.take_along_axis(b.reshape(groups), best, -1)[..., 0]
    return outcome(a[..., :, None] - kept[..., None, :]).reshape(repetitions, m, -1)


def even(tau: float, seeds: int) -> float:
    """The lead at which the candidate wins half of its pairs."""
    low, high = 0.0, 2.0
    for _ in range(20):
        lead = (low + high) / 2
        won = outcomes(np.random.default_rng(5), (1, 100_000, seeds), tau, lead).mean()
        low, high = (lead, high) if won < 0.5 else (low, lead)
    return low


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 4])
@pytest.mark.parametrize("m", [30, 100])
@pytest.mark.parametrize("tau", [0.0, 0.7, 1.5])
def test_coverage_and_false_verdicts_against_an_equal_rival(tau: float, m: int, seeds: int) -> None:
    """1,000 repetitions of two equal sides: 94 to 96 % are covered, 2 to 5 % get a verdict."""
    lead, codes, reps = even(tau, seeds), np.repeat(np.arange(m), seeds * seeds // 2), 1000
    covered = decided = 0
    for outcome_ in outcomes(np.random.default_rng(m), (reps, m, seeds), tau, lead):
        found = winning_rate(outcome_.ravel(), codes)
        p_value, _ = sign_flip_p(outcome_.ravel(), codes)
        low, high = found.ends or (1.0, 0.0)
        covered += low <= 0.5 <= high
        decided += verdict(found, p_value) in ("wins", "loses")
    print(f"tau {tau}, {m} prompts, {seeds} seeds: {covered / reps:.3f}, {decided / reps:.3f}")
    assert 0.93 <= covered / reps <= 0.975
    assert decided / reps <= 0.065
