"""How often metrics prefer the image that people prefer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from harness.comparison import ComparisonTables, MetricInfo, compare, load_comparison
from harness.comparison.agreement import alike
from harness.comparison.statistics import sign_flip_p, winning_rate
from harness.core.call import Call
from harness.store.results import Agreement
from harness.store.votes import HUMAN
from tests.comparison.synthetic_runs import Item, make_run

GOOD = MetricInfo("good", "higher", "Goodness")
ROUGH = MetricInfo("rough", "lower", "Roughness")


def compared(
    folder: Path,
    a: list[list[float | None]],
    b: list[list[float | None]],
    votes: dict[tuple[int, int], float],
    failed: tuple[tuple[int, int], ...] = (),
    metrics: tuple[MetricInfo, ...] = (GOOD, ROUGH),
) -> ComparisonTables:
    """Runs with scores [prompts][seeds], and the candidate's share of votes at (prompt, seed)."""

    def items(values: list[list[float | None]], lost: bool) -> list[Item]:
        return [
            Item(
                f"p{p}",
                s,
                {"good": v, "rough": None if v is None else -v},
                failed="blank" if lost and (p, s) in failed else None,
            )
            for p, row in enumerate(values)
            for s, v in enumerate(row)
        ]

    one = make_run(str(folder / "a"), items(a, False), Call("zigzag", {}), side=8)
    two = make_run(str(folder / "b"), items(b, True), side=8)
    said = {(f"p{p}/{s}", f"p{p}/{s}"): share for (p, s), share in votes.items()}
    out = str(folder / "out")
    return compare(
        one, {"own": two}, metrics, out, votes=said if HUMAN in metrics else None,
        opinions={"own": said},
    )  # fmt: skip


def agreed(found: ComparisonTables, metric: str = "good") -> Agreement:
    return next(row for row in found.agreements if row.metric == metric)


def test_alike_opposite_and_ties() -> None:
    metric, people = np.array([1, 1, 0, 0, 0.5, 0.5]), np.array([1, 0, 1, 0, 1, 0])
    assert alike(metric, people).tolist() == [1, 0, 0, 1, 0.5, 0.5]
    assert alike(people, metric).tolist() == alike(metric, people).tolist()
    assert alike(1 - metric, 1 - people).tolist() == alike(metric, people).tolist()


def test_the_share_of_pairs_over_prompts(tmp_path: Path) -> None:
    """Three prompts: agreement in 1 of 2, 1 of 1 and, with a tie of the metric, 1/2 of 1."""
    a, b = [[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    votes = {(0, 0): 1.0, (0, 1): 0.25, (1, 0): 0.75, (1, 1): 0.5, (2, 0): 1.0}
    found = compared(tmp_path, a, b, votes)
    row = agreed(found)
    assert row.agreement.value == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert (row.pairs, row.agreement.n) == (4, 3)
    assert (row.people_tied, row.metric_tied, row.left_out) == (1, 1, 0)
    outcome, prompts = np.array([1, 0, 1, 0.5]), np.array([0, 0, 1, 2])
    expected = winning_rate(outcome, prompts)
    assert (row.agreement.low, row.agreement.high) == (expected.low, expected.high)
    assert (row.p_value, row.p_method) == sign_flip_p(outcome, prompts)
    assert agreed(found, "rough").agreement == row.agreement  # lower is better there
    assert load_comparison(str(tmp_path / "out")).agreements == found.agreements
    assert list(found.agreement["metric"]) == ["good", "rough"]


def test_failed_and_unscored_pairs_are_left_out_and_counted(tmp_path: Path) -> None:
    a, b = [[1.0], [1.0], [None], [1.0]], [[0.0], [0.0], [0.0], [0.0]]
    votes = {(0, 0): 1.0, (1, 0): 1.0, (2, 0): 1.0}
    row = agreed(compared(tmp_path, a, b, votes, failed=((1, 0),)))
    assert (row.pairs, row.left_out, row.people_tied) == (1, 2, 0)
    assert (row.agreement.value, row.agreement.reason) == (1.0, "one prompt: no interval")


def test_only_ties_of_people_leave_nothing_to_agree_with(tmp_path: Path) -> None:
    row = agreed(compared(tmp_path, [[1.0], [1.0]], [[0.0], [0.0]], {(0, 0): 0.5, (1, 0): 0.5}))
    assert (row.agreement.value, row.p_value, row.people_tied) == (None, None, 2)
    assert row.agreement.reason == "no pairs"


@pytest.mark.parametrize(
    ("share", "people", "same"),
    [(1.0, "wins", True), (0.0, "loses", False), (None, "undecided", None)],
)
def test_whether_the_verdict_is_the_peoples(
    share: float | None, people: str, same: bool | None, tmp_path: Path
) -> None:
    """The metric wins all twelve prompts; people say so, say the opposite, or differ."""
    votes = {(p, 0): float(p % 2) if share is None else share for p in range(12)}
    row = agreed(compared(tmp_path, 12 * [[1.0]], 12 * [[0.0]], votes))
    assert (row.verdict, row.people, row.same) == ("wins", people, same)


def test_without_votes_there_is_no_agreement(tmp_path: Path) -> None:
    found = compared(tmp_path, [[1.0]], [[0.0]], {})
    assert (found.agreements, len(found.agreement)) == ([], 0)
    assert isinstance(found.agreement, pd.DataFrame)


def test_votes_do_not_agree_with_themselves(tmp_path: Path) -> None:
    a, b = [[1.0], [1.0]], [[0.0], [0.0]]
    found = compared(tmp_path, a, b, {(0, 0): 1.0, (1, 0): 1.0}, metrics=(GOOD, HUMAN))
    assert [row.metric for row in found.agreements] == ["good"]
    assert found.rate("own", HUMAN.name).pairs == 2


def votes_of(
    rng: np.random.Generator, shape: tuple[int, int, int], tau: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Outcomes [repetitions, prompts, seeds] of a metric and of one rater, who sees what it sees,
    with prompts on which they agree more or less."""
    metric = rng.normal(size=shape)
    trust = 0.6 + tau * rng.normal(size=(*shape[:2], 1))
    people = trust * metric + rng.normal(size=shape)
    return (metric > 0).astype(float), (people > 0).astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("m", [25, 80])
@pytest.mark.parametrize("tau", [0.0, 1.0])
@pytest.mark.parametrize("seeds", [1, 4])
def test_coverage_of_the_true_agreement(tau: float, m: int, seeds: int) -> None:
    """1,000 repetitions: 93 to 97.5 % of the intervals hold the agreement of all prompts."""
    truth = alike(*votes_of(np.random.default_rng(9), (1, 1_000_000, 1), tau)).mean()
    drawn = alike(*votes_of(np.random.default_rng(m), (1000, m, seeds), tau)).reshape(1000, -1)
    ends = [winning_rate(each, np.repeat(np.arange(m), seeds)).ends for each in drawn]
    covered = np.mean([end is not None and end[0] <= truth <= end[1] for end in ends])
    print(f"tau {tau}, {m} prompts, {seeds} seeds: {covered:.3f} of {truth:.3f}")
    assert 0.93 <= covered <= 0.975
