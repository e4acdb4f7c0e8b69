"""The whole evaluator with fake metrics: what is missing is computed, once, and nothing else."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.layout import Layout
from harness.core.run_spec import RunSpec
from harness.core.shards import Prompt, Shard, item_id, plan_shards
from harness.evaluation import by_seed_range, evaluate, pending, set_score
from harness.metrics.base import METRICS, ItemMetric, Metric, SetMetric, metric
from harness.metrics.encoders import Encoder, per_batch
from harness.metrics.frechet import Frechet
from harness.metrics.set_statistics import Reference
from harness.metrics.undefined import Undefined
from harness.store import files, index, schema
from harness.store.run import Run

PROMPTS = [Prompt(f"p{i:02d}", f"prompt {i // 2}", "ab"[i % 2]) for i in range(10)]
WORDS = {
    "title": "Test",
    "direction": "higher",
    "model": "none",
    "paper": "none",
    "licence": "none",
}


class Channels(Encoder):
    """Mean red, green and blue: three features."""

    name = "test-channels"
    width = 3
    passes: ClassVar[list[int]] = []

    def unsuitable(self, row: Any, size: tuple[int, int]) -> str | None:
        return "too large" if size[0] > 16 else None

    @per_batch
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        Channels.passes.append(len(images))
        return images.float().mean((2, 3))


class Red(ItemMetric):
    """Mean red; counts what it was asked for."""

    prepared: ClassVar[list[str]] = []
    kill_at: int | None = None
    memory = 1000

    def build_encoder(self) -> Encoder:
        return Channels()

    def truncates(self, prompt: str) -> bool:
        return prompt == "prompt 1"

    def prepare(self, prompts: Any) -> None:
        Red.prepared += prompts

    def score(self, images: torch.Tensor, rows: Any) -> list[float | Undefined]:
        if Red.kill_at is not None:
            Red.kill_at -= 1
            if Red.kill_at < 0:
                raise KeyboardInterrupt
        if len(images) > Red.memory:
            raise torch.cuda.OutOfMemoryError
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        assert self.encoder is not None
        values = self.encoder.encode(images)[:, 0].tolist()
        return [Undefined("black") if value == 0 else value for value in values]


class Blue(Red):
    """Mean blue."""

    def prepare(self, prompts: Any) -> None:
        pass

    def score(self, images: torch.Tensor, rows: Any) -> list[float | Undefined]:
        assert self.encoder is not None
        return [float("nan") if v == 7 else v for v in self.encoder.encode(images)[:, 2].tolist()]


class Spread(SetMetric):
    """Frechet distance to a unit Gaussian."""

    def build_encoder(self) -> Encoder:
        return Channels()

    def statistic(self) -> Frechet:
        return Frechet(Reference(np.zeros(3), np.eye(3), 100, {}))


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    METRICS.names()
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))
    metric("test-red", needs_prompts=True, **WORDS)(Red)  # type: ignore[arg-type]
    metric("test-blue", needs_prompts=False, **WORDS)(Blue)  # type: ignore[arg-type]
    metric("test-spread", range=(0, 1e9), **WORDS)(Spread)  # type: ignore[arg-type]
    Channels.passes, Red.prepared, Red.kill_at, Red.memory = [], [], None, 1000


def png(rgb: tuple[int, int, int], size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), rgb).save(buffer, "png")
    return buffer.getvalue()


def row(item: Prompt, seed: int, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng([seed, int(item.id[1:])])
    made = {
        "item_id": item_id(item.id, seed),
        "prompt_id": item.id,
        "prompt": item.text,
        "category": item.category,
        "notes": "{}",
        "seed": seed,
        "image": {"bytes": png(tuple(rng.integers(10, 256, 3).tolist())), "path": None},
        "width": 8,
        "height": 8,
        "failed": None,
    }
    return {**made, **changes}


def write_images(run: Run, shard: Shard, **changes: dict[str, Any]) -> None:
    rows = [row(p, shard.seed, **changes.get(p.id, {})) for p in shard.prompts]
    run.write("images", shard.name, pa.Table.from_pylist(rows, schema.IMAGES), shard.items_key)


def make_run(path: Path, prompts: list[Prompt] = PROMPTS, seeds: int = 2, **changes: Any) -> Run:
    spec = RunSpec("none", Call("none"), (8, 8), "float32", "item")
    run = Run.create(str(path), spec, {}, {})
    for shard in plan_shards(prompts, list(range(seeds)), Layout(4, 4)):
        write_images(run, shard, **changes)
    return run


def stored(run: Run) -> dict[str, bytes]:
    folder = Path(run.path)
    kinds = [*folder.glob("scores/*/*"), *folder.glob("features/*/*")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in kinds}


ALL = ["test-red", "test-blue", "test-spread"]


def test_scores_are_right_in_the_images_order_and_one_pass_serves_all(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    ticks: list[int] = []
    report = evaluate(run, ALL, progress=ticks.append)
    assert ticks == [4, 4, 2] * 2
    assert Channels.passes == ticks
    assert Red.prepared == [f"prompt {i}" for i in range(5)]
    frame = run.frame("scores/test-blue")
    images = run.frame("images")
    assert list(frame.item_id) == list(images.item_id)
    blues = [np.asarray(Image.open(io.BytesIO(i["bytes"])))[0, 0, 2] for i in images.image]
    assert list(frame.value) == blues
    assert set(frame.metric) == {"test-blue"}
    features = np.stack(run.frame("features/test-channels").feature)
    assert list(features[:, 2]) == blues
    red = report.outcomes["test-red"]
    assert (red.items, red.scored, red.truncated, red.computed_shards) == (20, 20, 4, 6)
    assert "4 prompts truncated" in str(red)


def test_a_second_evaluation_computes_and_loads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path)
    first = evaluate(run, ALL)
    before = stored(run)
    Channels.passes.clear()
    monkeypatch.setattr(Channels, "load", lambda self, device: pytest.fail("loaded"))
    second = evaluate(run, ALL)
    assert Channels.passes == []
    assert stored(run) == before
    assert second.outcomes["test-red"].reused_shards == 6
    assert second.outcomes["test-red"].truncated == first.outcomes["test-red"].truncated
    assert pending(run, ALL) == []


def test_a_killed_evaluation_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    whole, killed = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    evaluate(whole, ALL)
    Red.kill_at = 3
    with pytest.raises(KeyboardInterrupt):
        evaluate(killed, ALL)
    assert 0 < len(stored(killed)) < len(stored(whole))
    assert len(pending(killed, ALL)) == 3
    Red.kill_at = None
    evaluate(killed, ALL)
    assert stored(killed) == stored(whole)


def test_ranks_in_any_order_or_a_queue_give_the_same_bytes(tmp_path: Path) -> None:
    one, two, queue = (make_run(tmp_path / name) for name in "abc")
    evaluate(one, ALL)
    for rank in (1, 0):
        evaluate(two, ALL, shards=two.shards()[rank::2])
    evaluate(queue, ALL, shards=reversed(queue.shards()))
    assert stored(one) == stored(two) == stored(queue)


def test_an_evaluation_of_all_shards_leaves_an_index_by_however_many_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "LEAST", 1)
    monkeypatch.setattr(files, "_SETTLED", 0)
    one, two = (make_run(tmp_path / name) for name in "ab")
    evaluate(one, ALL)
    for rank in (1, 0):
        evaluate(two, ALL, shards=two.shards()[rank::2])
    assert not (tmp_path / "b/index").exists()
    evaluate(two, ALL)
    kinds = ["images", "scores/test-red", "scores/test-blue"]
    for kind in kinds:
        tables = [pq.read_table(f"{run.path}/index/{kind}.parquet") for run in (one, two)]
        assert tables[0]["shard_name"].to_pylist() == one.shards()
        assert tables[0].drop(["shard_stamp"]) == tables[1].drop(["shard_stamp"])
    assert len(list(tmp_path.glob("a/index/**/*.parquet"))) == len(kinds)


def test_threads_are_the_evaluations_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    encode = Channels.encode

    def watched(self: Channels, images: torch.Tensor) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return encode(self, images)

    monkeypatch.setattr(Channels, "encode", watched)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        evaluate(make_run(tmp_path / "a", PROMPTS[:2], 1), ["test-blue"])
        evaluate(make_run(tmp_path / "b", PROMPTS[:2], 1), ["test-blue"], threads=2)
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2]


def test_only_a_changed_shard_is_computed_again(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    evaluate(run, ALL)
    longer = plan_shards([*PROMPTS, Prompt("p10", "one more")], [0], Layout(4, 4))[2]
    write_images(run, longer)
    assert pending(run, ALL) == [longer.name]
    Channels.passes.clear()
    report = evaluate(run, ALL)
    assert Channels.passes == [3]
    assert report.outcomes["test-blue"].computed_shards == 1
    assert len(run.frame("scores/test-red")) == 21


def test_new_weights_or_a_new_version_make_scores_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path)
    evaluate(run, ALL)
    monkeypatch.setattr(Blue, "version", 2)
    assert evaluate(run, ALL).outcomes["test-blue"].computed_shards == 6
    assert evaluate(run, ALL).outcomes["test-red"].computed_shards == 0
    monkeypatch.setattr(Channels, "weights", lambda self: "other")
    report = evaluate(run, ALL)
    assert [outcome.computed_shards for outcome in report.outcomes.values()] == [6, 6, 6]
    meta = pq.read_schema(run.file("scores/test-red", run.shards()[0])).metadata
    assert meta[b"call"] == b"test-red"


def test_every_item_without_a_number_says_why(tmp_path: Path) -> None:
    cut = png((1, 2, 3), 64)
    run = make_run(
        tmp_path,
        seeds=1,
        p00={"failed": "nan in the latents", "image": None},
        p01={"image": {"bytes": cut[: len(cut) // 2], "path": None}},
        p02={"image": {"bytes": b"not a picture", "path": None}},
        p03={"image": None},
        p04={"image": {"bytes": png((0, 9, 9)), "path": None}},
        p05={"image": {"bytes": png((9, 9, 7)), "path": None}},
        p06={"prompt": " "},
        p07={"image": {"bytes": png((50, 9, 9), 32), "path": None}},
    )
    report = evaluate(run, ALL)
    red = run.frame("scores/test-red").set_index("item_id")
    reasons = red.reason.to_dict()
    assert reasons["p00/0"] == "failed: nan in the latents"
    assert reasons["p01/0"].startswith("broken image: ")
    assert reasons["p02/0"] == "broken image: of no known format"
    assert reasons["p03/0"] == "the row holds no image"
    assert reasons["p04/0"] == "black"
    assert reasons["p06/0"] == "there is no prompt"
    assert reasons["p07/0"] == "too large"
    assert red.value.isna().sum() == 7
    assert (red.value.isna() == red.reason.notna()).all()
    blue = run.frame("scores/test-blue").set_index("item_id")
    assert blue.reason["p05/0"] == "the metric gave nan"
    assert blue.value["p04/0"] == 9
    features = run.frame("features/test-channels").set_index("item_id")
    assert features.feature.notna().sum() == 5
    assert features.reason["p07/0"] == "too large"
    assert report.outcomes["test-red"].undefined["black"] == 1
    assert report.outcomes["test-red"].scored == 3


def test_a_shard_of_failures_alone_is_stored(tmp_path: Path) -> None:
    run = make_run(tmp_path, PROMPTS[:2], 1, **{p.id: {"failed": "blank"} for p in PROMPTS})
    evaluate(run, ALL)
    assert run.frame("features/test-channels").feature.isna().all()
    score = set_score(run, "test-spread")
    assert (score.value, score.n, score.excluded) == (None, 0, 2)
    assert score.reason == "there are no images"


def test_images_made_elsewhere_are_scored_and_noticed_when_they_change(tmp_path: Path) -> None:
    """In a folder of an earlier version, whose files say nothing."""
    run = make_run(tmp_path, PROMPTS[:3], 1)
    files.write_json(f"{run.path}/run.json", {**run.record, "sealed": False})
    run = Run.open(run.path)
    path = run.file("images", run.shards()[0])
    table = pq.read_table(path).replace_schema_metadata(None)
    pq.write_table(table, path)
    assert evaluate(run, ["test-blue"]).outcomes["test-blue"].computed_shards == 1
    assert evaluate(run, ["test-blue"]).outcomes["test-blue"].computed_shards == 0
    pq.write_table(table.slice(0, 2), path)
    assert evaluate(run, ["test-blue"]).outcomes["test-blue"].computed_shards == 1


def test_out_of_memory_halves_the_batch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run, small = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    evaluate(run, ["test-red"])
    Red.memory = 1
    with caplog.at_level(logging.WARNING):
        evaluate(small, ["test-red"])
    assert "halved" in caplog.text
    assert stored(run) == stored(small)


def test_small_batches_give_the_same_items(tmp_path: Path) -> None:
    run, small = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    evaluate(run, ALL)
    Channels.passes.clear()
    evaluate(small, ALL, batch_size=3)
    assert Channels.passes == [3, 1, 3, 1, 2] * 2
    assert stored(run) == stored(small)


def test_a_metric_that_cannot_run_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path)

    def missing(self: Metric) -> None:
        raise HarnessError("download blue.safetensors")

    monkeypatch.setattr(Blue, "check", missing)
    report = evaluate(run, ALL)
    assert report.missing == {"test-blue": "download blue.safetensors"}
    assert set(report.outcomes) == {"test-red", "test-spread"}
    with pytest.raises(HarnessError, match="download blue"):
        evaluate(run, ["test-blue"])


def test_mistakes_are_named_before_any_work(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(HarnessError, match="did you mean 'test-blue'"):
        evaluate(run, ["test-red", "test-bleu"])
    with pytest.raises(HarnessError, match="no metric is named"):
        evaluate(run, [])
    assert stored(run) == {}
    empty = make_run(tmp_path / "empty", [])
    with pytest.raises(HarnessError, match="holds no images"):
        evaluate(empty, ["test-red"])
    with pytest.raises(HarnessError, match="holds no images"):
        set_score(empty, "test-spread")


def test_set_score_is_that_of_all_features_with_an_interval(tmp_path: Path) -> None:
    prompts = [Prompt(f"p{i:02d}", f"prompt {i}") for i in range(30)]
    run = make_run(tmp_path, prompts, seeds=2, p03={"failed": "blank"})
    evaluate(run, ["test-spread"])
    frame = run.frame("features/test-channels")
    features = np.stack(frame.feature.dropna())
    statistic = Spread().statistic()
    score = set_score(run, "test-spread")
    # the same numbers in another array: BLAS does not promise to add them in the same order
    whole = statistic.value(statistic.gather(features))
    assert score.value == pytest.approx(whole, rel=1e-12)
    assert (score.n, score.excluded, score.reason) == (58, 2, None)
    assert score.low is not None
    assert score.high is not None
    assert 0 <= score.low < score.value < score.high
    chosen = [item_id(p.id, 0) for p in prompts]
    part = set_score(run, "test-spread", items=chosen)
    assert (part.n, part.excluded) == (29, 1)
    some = np.stack(frame[frame.item_id.isin(chosen)].feature.dropna())
    assert part.value == pytest.approx(statistic.value(statistic.gather(some)), rel=1e-12)


def test_set_score_says_what_it_lacks(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(HarnessError, match="missing or outdated for 6 of 6 shards"):
        set_score(run, "test-spread")
    with pytest.raises(HarnessError, match="no set score"):
        set_score(run, "test-red")
    evaluate(run, ["test-spread"])
    few = set_score(run, "test-spread", items=[item_id("p00", 0)])
    assert few.value is None
    assert "1 images are too few" in str(few.reason)
    score = set_score(run, "test-spread")
    assert score.value is not None
    assert score.low is None
    assert "fewer than 20 prompts" in str(score.interval_reason)
    write_images(run, plan_shards([*PROMPTS, Prompt("p10", "one more")], [0], Layout(4, 4))[2])
    with pytest.raises(HarnessError, match="outdated for 1 of 6"):
        set_score(run, "test-spread")
    whole = set_score(run, "test-spread", items=[item_id(p.id, 1) for p in PROMPTS])
    assert whole.n == 10  # the outdated shard holds none of these
    with pytest.raises(HarnessError, match=r"lacks 2 of the 3 images asked for"):
        set_score(run, "test-spread", items=["p00/0", "p00/7", "p99/0"])


def test_set_scores_of_two_versions_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path)
    evaluate(run, ["test-spread"])
    before = set_score(run, "test-spread").identity
    monkeypatch.setattr(Channels, "version", 2)
    evaluate(run, ["test-spread"], shards=run.shards()[:1])
    with pytest.raises(HarnessError, match=r"'test-channels' were made by 2 versions.*evaluate"):
        set_score(run, "test-spread")
    evaluate(run, ["test-spread"])
    assert set_score(run, "test-spread").identity != before


def test_blocks_are_seeds_where_prompts_are_few(tmp_path: Path) -> None:
    run = make_run(tmp_path, PROMPTS[:2], seeds=24)
    evaluate(run, ["test-spread"])
    score = set_score(run, "test-spread")
    assert score.n == 48
    assert score.low is not None


def test_set_scores_of_equal_images_name_equal_items(tmp_path: Path) -> None:
    prompts = [Prompt(f"p{i:02d}", f"prompt {i}") for i in range(30)]
    a, b = (make_run(tmp_path / name, prompts, seeds=1) for name in "ab")
    c = make_run(tmp_path / "c", prompts, seeds=1, p03={"failed": "blank"})
    for run in (a, b, c):
        evaluate(run, ["test-spread"])
    one, other, failed = (set_score(run, "test-spread") for run in (a, b, c))
    assert one.items == other.items != failed.items
    assert len(one.left_out) == 20


def test_seed_ranges_have_a_value_each_over_disjoint_images_of_one_number(tmp_path: Path) -> None:
    run = make_run(tmp_path, PROMPTS, seeds=3)
    evaluate(run, ["test-spread"])
    found = by_seed_range(run, "test-spread", [[0], [1], [2]])
    assert [score.n for score in found] == [10, 10, 10]
    part = set_score(run, "test-spread", items=[item_id(p.id, 1) for p in PROMPTS])
    assert found[1].value == part.value
    for ranges, words in (
        ([[0], [1]], "three or more"),
        ([[0], [1], [1]], "share a seed"),
        ([[0], [1], [2, 3]], "different N"),
        ([[0], [1], [7]], "lacks seed 7"),
    ):
        with pytest.raises(HarnessError, match=words):
            by_seed_range(run, "test-spread", ranges)
