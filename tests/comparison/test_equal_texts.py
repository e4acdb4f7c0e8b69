"""One text is one prompt in runs that name it by several ids: images, rates, means, Frechet."""

from dataclasses import replace

import numpy as np
import pytest

from harness.comparison import MetricInfo, compare
from harness.comparison.matrix import compare_all
from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.evaluation import set_score
from harness.metrics.base import METRICS, SetMetric, metric
from harness.metrics.encoders import Encoder
from harness.metrics.frechet import Frechet
from harness.metrics.set_statistics import Reference
from harness.prompts.base import load_prompts
from harness.reporting.shown_pairs import shown_pairs
from harness.reporting.viewer import viewer_data
from harness.store.run import Run
from harness.store.scores import images_key, write_features
from tests.comparison.synthetic_runs import Item, make_run

GOOD = MetricInfo("good", "higher", "Goodness")
WON = [1, 1, 0, 1, 0, 1, 1]  # of seven texts: 71.4 %


def table(path):
    """Ten rows of each of seven texts."""
    path.write_text("prompt\n" + "".join(f"text {i}\n" * 10 for i in range(7)))
    return str(path)


def repeated(values, seeds=(0,), ids="row{}", times=10):
    """The items of a table that repeats each text, as runs of its rows hold them."""
    return [
        Item(ids.format(times * i + at), seed, {"good": value}, prompt=f"text {i}", category="k")
        for seed in seeds
        for i, value in enumerate(values)
        for at in range(times)
    ]


def contest(tmp_path, a, b, **how):
    ours = make_run(str(tmp_path / "a"), a, Call("heun", {}), shard_size=8, **how)
    theirs = make_run(str(tmp_path / "b"), b, shard_size=8, **how)
    return ours, theirs, compare(ours, {"own": theirs}, [GOOD], str(tmp_path / "out"))


def imported(run, paired):
    run.declare({"source": "there", "paired": paired})
    return Run.open(run.path)


def test_a_new_run_of_seventy_rows_has_seven_images(tmp_path):
    prompts = load_prompts(table(tmp_path / "t.csv")).prompts
    sides = [
        [Item(p.id, 0, {"good": abs(w - lost)}, p.text) for p, w in zip(prompts, WON, strict=True)]
        for lost in (0, 1)
    ]
    _, _, tables = contest(tmp_path, *sides)
    check_seven(tables.rate("own", "good"))


def check_seven(row):
    """What seven images say, whatever the number of their rows."""
    assert (row.pairs, row.winning_rate.n) == (7, 7)
    assert row.winning_rate.value == pytest.approx(5 / 7)
    ends = (100 * row.winning_rate.low, 100 * row.winning_rate.high)
    assert ends == pytest.approx((29.3, 93.8), abs=0.05)
    assert row.p_value > 0.4
    assert row.verdict == "undecided"


@pytest.mark.parametrize("noise_key", ["prompt", "seed"])
def test_a_run_on_disk_of_seventy_rows_has_seven_images(tmp_path, caplog, noise_key):
    losses = [1 - value for value in WON]
    ours, _, tables = contest(tmp_path, repeated(WON), repeated(losses), noise_key=noise_key)
    row = tables.rate("own", "good")
    if noise_key == "prompt":
        check_seven(row)
    verdict = "undecided" if noise_key == "prompt" else "undefined"  # one seed of shared noise
    assert (row.pairs, row.winning_rate.n, row.verdict) == (7, 7, verdict)
    assert tables.pairs["item_id"].tolist() == [f"row{10 * i}/0" for i in range(7)]
    facts = tables.runs["candidate"]
    assert (facts.images, facts.prompts) == (7, 7)
    assert tables.means[0].images == 7
    (category,) = [row for row in tables.results if row.category == "k"]
    assert category.pairs == 7
    said = f"{ours.path}: 70 prompt ids stand for 7 distinct texts: one text counts as one prompt"
    assert caplog.text.count(said + "; of its 70 images, 7 are distinct") == 1


def test_a_new_run_pairs_with_one_made_before_its_rows_were_merged(tmp_path):
    fresh = [Item(f"row{10 * i}", 0, {"good": w}, f"text {i}", "k") for i, w in enumerate(WON)]
    _, _, tables = contest(tmp_path, fresh, repeated([1 - w for w in WON]))
    row = tables.rate("own", "good")
    check_seven(row)
    assert (row.a_unpaired, row.b_unpaired) == (0, 0)


def test_asked_items_are_counted_once_too(tmp_path):
    ours, theirs, _ = contest(tmp_path, repeated(WON), repeated([1 - w for w in WON]))
    asked = {f"row{at}/0" for at in range(5, 25)}
    tables = compare(ours, {"own": theirs}, [GOOD], str(tmp_path / "out"), items=asked)
    assert tables.pairs["item_id"].tolist() == ["row5/0", "row10/0", "row20/0"]


def test_noise_by_place_gives_images_of_their_own_and_prompts_by_text(tmp_path):
    _, _, tables = contest(
        tmp_path, repeated(WON), repeated([1 - w for w in WON]), noise_key="index"
    )
    row = tables.rate("own", "good")
    assert (row.pairs, row.winning_rate.n) == (70, 7)
    assert row.verdict == "undecided"


@pytest.mark.parametrize("paired", [True, False])
def test_imports_of_several_ids_for_a_text_have_texts_for_prompts(tmp_path, paired):
    a, b, _ = contest(tmp_path, repeated(WON), repeated([1 - w for w in WON]))
    a, b = imported(a, paired), imported(b, paired)
    tables = compare(a, {"own": b}, [GOOD], str(tmp_path / "out"))
    row = tables.rate("own", "good")
    assert (row.pairs, row.winning_rate.n) == (70 if paired else 700, 7)
    assert row.winning_rate.value == pytest.approx(5 / 7)
    assert row.winning_rate.low < 0.3
    assert row.verdict == "undecided"
    assert tables.pairs["item_id"].is_unique
    assert tables.pairs["prompt_id"].nunique() == 7


def test_unpaired_images_meet_those_of_their_text_under_any_id(tmp_path):
    ours = make_run(str(tmp_path / "a"), repeated(WON, ids="mine{}", times=2))
    theirs = make_run(str(tmp_path / "b"), repeated([0.5] * 7, (0, 1), "theirs{}", 1))
    tables = compare(imported(ours, False), {"own": theirs}, [GOOD], str(tmp_path / "out"))
    row = tables.rate("own", "good")
    assert (row.pairs, row.winning_rate.n) == (7 * 2 * 2, 7)
    assert (row.a_unpaired, row.b_unpaired) == (0, 0)
    named = tables.pairs["item_id"].tolist()
    assert named[:2] == ["mine0/0 with theirs0/0", "mine0/0 with theirs0/1"]
    shown = viewer_data(shown_pairs(tables, None))["pairs"]
    assert len(shown) == 28
    assert all(all(pair["images"].values()) for pair in shown)


def test_paired_runs_of_other_ids_say_which_option_helps(tmp_path):
    ours = make_run(str(tmp_path / "a"), repeated(WON, ids="mine{}", times=1))
    theirs = make_run(str(tmp_path / "b"), repeated(WON, ids="theirs{}", times=1))
    with pytest.raises(HarnessError, match=r"texts are the same, under other ids.*--prompts NAME"):
        compare(imported(ours, True), {"own": theirs}, [GOOD], str(tmp_path / "out"))
    bare = [replace(item, prompt="") for item in repeated(WON, ids="file{}", times=1)]
    blank = imported(make_run(str(tmp_path / "c"), bare), False)
    with pytest.raises(HarnessError, match=r"c have no prompts: import .* --prompts NAME"):
        compare(blank, {"own": theirs}, [GOOD], str(tmp_path / "out"))


def test_images_without_text_are_prompts_by_their_ids(tmp_path, caplog):
    sides = [[replace(i, prompt="") for i in repeated(w, ids="f{}", times=3)] for w in (WON, WON)]
    _, _, tables = contest(tmp_path, *sides)
    assert (tables.rate("own", "good").pairs, tables.rate("own", "good").winning_rate.n) == (21, 21)
    assert not caplog.records


def test_a_matrix_has_a_prompt_a_text(tmp_path):
    values = (WON, [1 - w for w in WON], [0.5] * 7)
    runs = {str(i): make_run(str(tmp_path / str(i)), repeated(v)) for i, v in enumerate(values)}
    matrix = compare_all(runs, [GOOD])
    assert {(duel.pairs, duel.winning_rate.n) for duel in matrix.duels} == {(7, 7)}
    foreign = {name: imported(run, True) for name, run in runs.items()}
    matrix = compare_all(foreign, [GOOD])
    assert {(duel.pairs, duel.winning_rate.n) for duel in matrix.duels} == {(70, 7)}


class Wide(Encoder):
    """Stands for an encoder whose features are written by hand."""

    name = "wide"
    width = 2

    def encode(self, images):
        raise NotImplementedError


class Distance(SetMetric):
    """Frechet distance to a unit Gaussian."""

    def build_encoder(self):
        return Wide()

    def statistic(self):
        return Frechet(Reference(np.zeros(2), np.eye(2), 100, {}))


@pytest.fixture
def measure(monkeypatch):
    METRICS.names()
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))
    words = {"title": "Test", "model": "none", "paper": "none", "licence": "none"}
    metric("test-distance", direction="lower", **words)(Distance)
    return Distance()


def test_a_frechet_distance_is_of_distinct_images(tmp_path, measure):
    values = np.random.default_rng(0).normal(size=(25, 2)).astype(np.float32)
    scores, rows = {}, repeated(range(25))
    for name, items in (("once", rows[::10]), ("tenfold", rows)):
        run = make_run(str(tmp_path / name), items, shard_size=12)
        for at, shard in enumerate(run.shards()):
            part = items[12 * at : 12 * (at + 1)]
            features = [values[item.scores["good"]] for item in part]
            names = [f"{item.prompt_id}/{item.seed}" for item in part]
            made_by = {"items": images_key(run, shard), "identity": "1"}
            write_features(run, "wide", shard, names, features, [None] * len(part), 2, made_by)
        scores[name] = set_score(run, measure)
    once, tenfold = scores["once"], scores["tenfold"]
    assert (tenfold.n, tenfold.excluded) == (once.n, once.excluded) == (25, 0)
    assert tenfold.value == pytest.approx(once.value, rel=1e-9)
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high), rel=1e-9)
    foreign = set_score(imported(Run.open(str(tmp_path / "tenfold")), False), measure)
    assert foreign.n == 250
    assert foreign.low < once.value < foreign.high
    assert foreign.high - foreign.low > 0.8 * (once.high - once.low)  # blocks of texts, not of rows
