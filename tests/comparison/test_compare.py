import json

import duckdb
import pandas as pd
import pytest

from harness.comparison import MetricInfo, RunScore, compare, load_comparison
from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.store.run import Run
from tests.comparison.synthetic_runs import Item, make_run, score, write_images

GOOD = MetricInfo("good", "higher", "Goodness")
COST = MetricInfo("cost", "lower")


def items(values, **common):
    return [Item(f"p{i}", 0, {"good": value}, **common) for i, value in enumerate(values)]


def contest(tmp_path, a, b, metrics=(GOOD,), **more):
    run = make_run(str(tmp_path / "a"), a, Call("zigzag", {"steps": 10}), {"cond": 30})
    own = make_run(str(tmp_path / "b"), b)
    return compare(run, {"own": own}, list(metrics), str(tmp_path / "a"), **more)


def test_wins_ties_losses_and_differences(tmp_path):
    row = contest(tmp_path, items([0.9, 0.5, 0.1, 0.8]), items([0.1, 0.5, 0.2, 0.1])).rate(
        "own", "good"
    )
    assert (row.wins, row.ties, row.losses, row.pairs) == (2, 1, 1, 4)
    assert row.winning_rate.value == pytest.approx(2.5 / 4)
    assert row.difference.value == pytest.approx((0.8 + 0 - 0.1 + 0.7) / 4)
    assert row.difference.low < row.difference.value < row.difference.high
    assert row.verdict == "undecided"


def test_lower_is_better_turns_outcomes_not_differences(tmp_path):
    a = [Item(f"p{i}", 0, {"cost": 1.0}) for i in range(8)]
    b = [Item(f"p{i}", 0, {"cost": 3.0}) for i in range(8)]
    row = contest(tmp_path, a, b, [COST]).rate("own", "cost")
    assert (row.winning_rate.value, row.difference.value, row.verdict) == (1.0, -2.0, "wins")


def test_a_failed_image_loses_and_two_failed_tie(tmp_path):
    a = [
        Item("p0", 0, {"good": 0.1}),
        Item("p1", failed="not finite"),
        Item("p2", failed="blank"),
        Item("p3", 0, {"good": 0.4}),
    ]
    b = [
        Item("p0", 0, {"good": None}, failed="blank"),
        Item("p1", 0, {"good": 0.0}),
        Item("p2", failed="blank"),
        Item("p3", 0, {"good": 0.5}),
    ]
    result = contest(tmp_path, a, b)
    assert result.pairs["outcome"].tolist() == [1, 0, 0.5, 0]
    row = result.rate("own", "good")
    assert (row.a_failed, row.b_failed, row.left_out) == (2, 2, 0)
    assert (row.difference_pairs, row.difference.value) == (1, pytest.approx(-0.1))
    assert result.candidate.failed == {"blank": 1, "not finite": 1}


def test_a_failure_beats_no_undefined_score(tmp_path):
    a = [Item("p0", 0, {"good": None}), Item("p1", failed="blank"), Item("p2", 0, {"good": 1.0})]
    b = [Item("p0", 0, {"good": 0.5}), Item("p1", 0, {"good": None}), Item("p2", 0, {"good": 0.0})]
    result = contest(tmp_path, a, b)
    assert result.pairs["left_out"].tolist()[0] == "no demand"
    assert result.pairs["outcome"].isna().tolist() == [True, False, False]
    row = result.rate("own", "good")
    assert (row.pairs, row.wins, row.losses, row.left_out) == (2, 1, 1, 1)


def test_nothing_scored_is_null_with_the_reason(tmp_path):
    result = contest(tmp_path, items([None, None]), items([None, 0.5]))
    row = result.rate("own", "good")
    assert pd.isna(row.winning_rate.value)
    assert pd.isna(row.p_value)
    assert "no demand" in row.winning_rate.reason
    assert row.verdict == "undefined"
    assert pd.isna(result.summary["mean"].iloc[0])
    assert result.summary["reason"].iloc[0]


def test_only_common_items_are_paired_and_the_rest_is_counted(tmp_path):
    a = [Item("p0", seed, {"good": 1.0}) for seed in range(4)] + items([1, 1, 1])[1:]
    b = [Item("p0", seed, {"good": 0.0}) for seed in range(2, 5)] + items([1, 1, 1])[2:]
    row = contest(tmp_path, a, b).rate("own", "good")
    assert (row.pairs, row.winning_rate.n) == (3, 2)
    assert (row.a_unpaired, row.b_unpaired) == (3, 1)
    assert row.winning_rate.value == pytest.approx((1 + 0.5) / 2)  # prompts weigh the same


def test_categories_have_their_own_rows(tmp_path):
    a = items([1, 1], category="counting") + [
        Item(f"q{i}", 0, {"good": 0.0}, category="colour") for i in range(3)
    ]
    b = items([0, 0], category="counting") + [
        Item(f"q{i}", 0, {"good": 1.0}, category="colour") for i in range(3)
    ]
    rates = contest(tmp_path, a, b).rates
    assert rates["category"].fillna("all").tolist() == ["all", "colour", "counting"]
    assert rates["winning_rate"].tolist() == [0.4, 0, 1]
    assert rates["pairs"].tolist() == [5, 3, 2]


def test_one_prompt_id_with_two_texts_is_refused(tmp_path):
    a, b = items([1, 1]), [Item("p0", 0, {"good": 1}, prompt="other"), Item("p1", 0, {"good": 1})]
    with pytest.raises(HarnessError, match=r"'p0'.*'prompt p0'.*'other'"):
        contest(tmp_path, a, b)


@pytest.mark.parametrize("other", [{"noise_key": "seed"}, {"side": 32}])
def test_runs_from_other_noise_are_refused(tmp_path, other):
    a = make_run(str(tmp_path / "a"), items([1, 1]))
    b = make_run(str(tmp_path / "b"), items([1, 1]), **other)
    with pytest.raises(HarnessError, match=r"same noise: their (noise_key|size) is"):
        compare(a, {"own": b}, [GOOD], str(tmp_path / "a"))


def test_no_common_item_is_refused(tmp_path):
    with pytest.raises(HarnessError, match="no image in common"):
        contest(tmp_path, items([1, 1]), [Item("p0", 7, {"good": 1})])


def test_a_missing_score_is_refused(tmp_path):
    with pytest.raises(
        HarnessError, match=r"a: scores of 'cost' are missing .* 1 of 1 .*evaluate it"
    ):
        contest(tmp_path, items([1, 1]), items([1, 1]), [COST])


def test_an_item_held_twice_is_refused(tmp_path):
    with pytest.raises(HarnessError, match="'p0' at seed 0 twice"):
        contest(tmp_path, items([1]) * 2, items([1]))


@pytest.mark.parametrize(
    ("baselines", "metrics", "message"),
    [({}, [GOOD], "no baseline"), ({"own": None}, [GOOD], "no baseline"), (None, [], "metric")],
)
def test_nothing_to_compare_is_refused(tmp_path, baselines, metrics, message):
    run = make_run(str(tmp_path / "a"), items([1, 1]))
    other = make_run(str(tmp_path / "b"), items([1, 1]))
    with pytest.raises(HarnessError, match=message):
        compare(run, {"own": other} if baselines is None else baselines, metrics, str(tmp_path))


def test_costs_stand_beside_the_means(tmp_path):
    result = contest(tmp_path, items([0.2, 0.4]), items([0.1, 0.1]))
    summary = result.summary.set_index("run")
    assert summary.loc["candidate", "mean"] == pytest.approx(0.3)
    assert summary["nfe"].tolist() == [30, 40]
    assert json.loads(summary.loc["own", "nfe_by_branch"]) == {"unet/cond": 20, "unet/uncond": 20}
    assert summary["seconds"].tolist() == pytest.approx([0.5, 0.5])
    assert summary["device"].tolist() == ["cpu, 1 thread"] * 2


def test_an_untimed_run_has_null_seconds(tmp_path):
    run = make_run(str(tmp_path / "a"), items([1, 1]), seconds=None)
    other = make_run(str(tmp_path / "b"), items([1, 1]))
    cost = compare(run, {"own": other}, [GOOD], str(tmp_path)).candidate.cost
    assert (cost.seconds, cost.timed_images, cost.device) == (None, 0, "not timed")


def test_a_run_against_its_like_is_all_ties(tmp_path):
    row = contest(tmp_path, items([0.1, 0.2, 0.3]), items([0.1, 0.2, 0.3])).rate("own", "good")
    assert (row.winning_rate.value, row.ties, row.p_value, row.difference.value) == (0.5, 3, 1, 0)


def test_a_run_against_itself_is_refused(tmp_path):
    run = make_run(str(tmp_path / "a"), items([0.1, 0.2]))
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for path in (f"{tmp_path}/a", f"{tmp_path}/./a/", f"{tmp_path}/link"):
        with pytest.raises(HarnessError, match=r"a would be compared with itself: name another"):
            compare(run, {"own": Run.open(path)}, [GOOD], str(tmp_path / "a"))
    assert not (tmp_path / "a/compare").exists()


def test_scores_of_other_images_are_refused(tmp_path):
    """The shard was made anew, with the same item id for another text, and not evaluated again."""
    a = make_run(str(tmp_path / "a"), items([1, 1, 1]), shard_size=2)
    b = make_run(str(tmp_path / "b"), items([0, 0, 0]), shard_size=2)
    new = [Item("p2", 0, {"good": 1.0}, prompt="another text")]
    for run in (a, b):
        write_images(run, "part-00000-00001", new, {"cond": 20}, 64)
    with pytest.raises(HarnessError, match=r"a: scores of 'good' .*outdated for 1 of 2 .*evaluate"):
        compare(a, {"own": b}, [GOOD], str(tmp_path / "a"))
    compare(a, {"own": b}, [GOOD], str(tmp_path / "a"), items=["p0/0", "p1/0"])


@pytest.mark.parametrize(
    ("identity", "why"),
    [({}, "are missing or outdated for 1 of 2"), ({"identity": "version 2"}, "were made by 2")],
)
def test_scores_of_two_versions_in_one_run_are_refused(tmp_path, identity, why):
    a = make_run(str(tmp_path / "a"), items([1, 1, 1]))
    b = make_run(str(tmp_path / "b"), items([0, 0, 0]), shard_size=2)
    key = b.items_key("images", "part-00000-00001")
    score(b, "part-00000-00001", "good", items([0, 0, 0])[2:], {"items": key, **identity})
    with pytest.raises(HarnessError, match=rf"b: scores of 'good' {why} .*evaluate it first"):
        compare(a, {"own": b}, [GOOD], str(tmp_path / "a"))


def test_sides_scored_by_two_versions_are_refused(tmp_path):
    a = make_run(str(tmp_path / "a"), items([1, 1]))
    b = make_run(str(tmp_path / "b"), items([0, 0]), identity="version 2")
    with pytest.raises(HarnessError, match=r"a and .*b were scored on 'good' by different .*both"):
        compare(a, {"own": b}, [GOOD], str(tmp_path / "a"))
    fd = MetricInfo("fd", "lower")
    scores = [RunScore(run, fd, 1.0, 2, identity=run) for run in ("candidate", "own")]
    with pytest.raises(HarnessError, match="scored on 'fd' by different versions"):
        contest(tmp_path / "x", items([1, 1]), items([0, 0]), set_scores=scores)


def test_only_the_items_asked_for_are_read_and_counted(tmp_path):
    """The last of three shards is not scored anew and not wanted, the second only in part."""
    a = make_run(
        str(tmp_path / "a"), items([1, 1, 0, 0, 0, 0]), nfe={"cond": 30}, shard_size=2, seconds=1.0
    )
    b = make_run(str(tmp_path / "b"), items([0, 0, 1, 1, 1]), shard_size=2)
    for run, values in ((a, 2), (b, 1)):
        write_images(run, "part-00000-00002", items([0] * (4 + values))[4:], {"cond": 999}, 64)
        run.write(
            "timing",
            "part-00000-00002",
            run.read("timing", "part-00000-00002").set_column(2, "seconds", [[999.0]]),
            "key",
        )
    wanted = ["p0/0", "p1/0", "p2/0"]
    result = compare(a, {"own": b}, [GOOD], str(tmp_path / "a"), items=wanted)
    row = result.rate("own", "good")
    assert (row.wins, row.losses, row.pairs) == (2, 1, 3)
    assert (row.a_unpaired, row.b_unpaired) == (0, 0)
    assert result.pairs["item_id"].tolist() == wanted
    assert result.summary["images"].tolist() == [3, 3]
    assert result.summary["mean"].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert (result.candidate.images, result.candidate.prompts) == (3, 3)
    cost = result.candidate.cost
    assert (cost.nfe, cost.nfe_images, cost.nfe_by_branch) == (30, 3, {"unet/cond": 30})
    assert (cost.seconds, cost.timed_images) == (1.0, 4)  # seconds are known by shard


def test_items_that_a_run_lacks_are_refused(tmp_path):
    a = make_run(str(tmp_path / "a"), items([1, 1, 1, 1]))
    b = make_run(str(tmp_path / "b"), items([1]))
    wanted = {"p0/0", "p1/0", "p3/0"}
    with pytest.raises(HarnessError, match=r"b lacks 2 of the 3 images asked for \('p1/0', ...\)"):
        compare(a, {"own": b}, [GOOD], str(tmp_path / "a"), items=wanted)
    with pytest.raises(HarnessError, match=r"no images of .*a are asked for"):
        compare(a, {"own": b}, [GOOD], str(tmp_path / "a"), items=[])


def test_few_wins_among_ties_are_no_verdict(tmp_path):
    a, b = items([1.0] * 5 + [0.5] * 155), items([0.5] * 160)
    row = contest(tmp_path, a, b).rate("own", "good")
    assert row.winning_rate.low > 0.5
    assert row.p_value == pytest.approx(0.0625)
    assert row.verdict == "undecided"


def test_set_scores_of_other_sizes_are_flagged(tmp_path):
    fd = MetricInfo("fd", "lower", "Frechet distance")
    scores = [RunScore("candidate", fd, 3.0, 4), RunScore("own", fd, 2.0, 3, reason="few")]
    result = contest(tmp_path, items([1, 1]), items([1, 1]), set_scores=scores)
    first, second = result.set_scores["warning"]
    assert pd.isna(first)
    assert "not comparable" in second
    with pytest.raises(HarnessError, match="'matched'"):
        contest(tmp_path, items([1]), items([1]), set_scores=[RunScore("matched", fd, 1.0, 1)])


def test_what_is_written_is_what_is_read_and_moves_along(tmp_path):
    made = contest(tmp_path / "x", items([0.9, None]), items([0.1, 0.5]), commands=["make bench"])
    (tmp_path / "x").rename(tmp_path / "y")
    read = load_comparison(str(tmp_path / "y" / "a"))
    for name in ("pairs", "rates", "summary", "set_scores"):
        pd.testing.assert_frame_equal(getattr(made, name), getattr(read, name))
    assert read.metrics == made.metrics
    assert read.commands == ["make bench"]
    assert Run.open(read.baselines["own"].path).spec.sampler == Call("ddim", {"steps": 20})
    assert str(tmp_path) not in (tmp_path / "y/a/compare/comparison.json").read_text()
    with pytest.raises(HarnessError, match="no comparison"):
        load_comparison(str(tmp_path))


def test_an_absent_baseline_keeps_its_reason(tmp_path):
    run = make_run(str(tmp_path / "a"), items([1, 1]))
    baselines = {
        "own": make_run(str(tmp_path / "b"), items([1, 1])),
        "matched cost": None,
        "other": None,
    }
    absent = {"matched cost": "the same run"}
    result = compare(run, baselines, [GOOD], str(tmp_path), absent=absent)
    assert result.absent == {"matched cost": "the same run", "other": "no baseline run"}


def test_the_tables_are_the_same_bytes_again_and_open_in_duckdb(tmp_path):
    contest(tmp_path, items([0.9, 0.2]), items([0.1, 0.5]))
    paths = sorted((tmp_path / "a/compare").glob("*.parquet"))
    before = [path.read_bytes() for path in paths]
    contest(tmp_path, items([0.9, 0.2]), items([0.1, 0.5]))
    assert [path.read_bytes() for path in paths] == before
    assert [path.stem for path in paths] == ["pairs", "set_scores", "summary", "winning_rates"]
    query = f"select count(*), sum(outcome) from '{tmp_path}/a/compare/pairs.parquet'"
    assert duckdb.sql(query).fetchall() == [(2, 1.0)]


def test_set_scores_of_the_same_images_have_a_difference(tmp_path):
    """The jackknife of the differences: blocks that move both sides alike leave no doubt."""
    fd = MetricInfo("fd", "lower", "Frechet distance")
    moved = tuple(float(v) for v in range(20))

    def difference(**more):
        other = {"left_out": tuple(v + 1 for v in moved), "items": "x"} | more
        scores = [
            RunScore("candidate", fd, 3.0, 4, left_out=moved, items="x"),
            RunScore("own", fd, 5.0, **{"n": 4, **other}),
        ]
        where = tmp_path / str(len(list(tmp_path.iterdir())))
        result = contest(where, items([1, 1]), items([1, 1]), set_scores=scores)
        assert pd.isna(result.set_scores["difference"].iloc[0])
        return result.set_scores.iloc[1]

    row = difference()
    assert (row["difference"], row["difference_low"], row["difference_high"]) == (-2, -2, -2)
    alone = difference(left_out=())
    assert (alone["difference"], pd.isna(alone["difference_low"])) == (-2, True)
    for other, why in (({"n": 3}, "over 4 and 3 images"), ({"items": "y"}, "different prompts")):
        row = difference(**other)
        assert pd.isna(row["difference"])
        assert why in row["difference_reason"]


def test_intervals_of_means_stay_in_the_metrics_range(tmp_path):
    share = MetricInfo("good", "higher", least=0, most=1)
    found = contest(
        tmp_path / "1", items([1.0, 0.9, 1.0, 0.4]), items([0.0, 1.0, 0.05, 0.9]), [share]
    )
    low, high = found.summary.set_index("run").loc["candidate", ["low", "high"]]
    assert low > 0.3
    assert high == 1
    row = found.rate("own", "good")
    assert row.difference.value == pytest.approx(0.3375)
    assert -1 <= row.difference.low < row.difference.high == 1
    found = contest(tmp_path / "2", items([1.0] * 4), items([0.5] * 4), [share])
    rows = found.summary.set_index("run")
    assert rows.loc["candidate", "high"] == 1
    assert 0.2 < rows.loc["candidate", "low"] < 0.6  # four of four: Wilson's interval
    assert pd.isna(rows.loc["own", "low"])
    assert "all prompts score the same" in rows.loc["own", "reason"]
