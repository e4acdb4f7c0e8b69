"""Diversity: the mean distance of a prompt's pairs, computed from stored features when read."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness import cli
from harness.comparison.prompt_scores import prompt_scores
from harness.core.errors import HarnessError
from harness.core.shards import plan_shards
from harness.evaluation import evaluate
from harness.experiments.scoring import compare_runs
from harness.metrics.base import PromptMetric, make_metric, make_metrics
from harness.metrics.diversity import distances
from harness.metrics.undefined import Undefined
from harness.prompts.base import load_prompts
from harness.runs.folder import Settings, open_run
from harness.runs.make import generate
from harness.runs.plan import plan
from harness.store.run import Run
from harness.store.scores import select
from tests.metrics.random_weights import dinov2_state

NAME = "shapes-diversity"


def test_the_mean_over_images_is_the_mean_over_pairs() -> None:
    features = np.random.default_rng(0).normal(size=(7, 12)).astype(np.float32)

    def distance(a: Any, b: Any) -> float:
        return float(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    pairs = [distance(a, b) for a, b in itertools.combinations(features.astype(float), 2)]
    found = distances(features)
    assert np.mean(found) == pytest.approx(np.mean(pairs), abs=1e-12)  # type: ignore[arg-type]
    others = [distance(features[2], features[i]) for i in range(7) if i != 2]
    assert found[2] == pytest.approx(np.mean(others), abs=1e-6)


def test_copies_have_none_and_opposites_two() -> None:
    one = np.array([[1.0, 2.0]], dtype=np.float32)
    assert distances(np.repeat(one, 3, 0)) == pytest.approx([0, 0, 0], abs=1e-12)
    assert distances(np.concatenate([one, -3 * one])) == pytest.approx([2, 2])
    assert all(isinstance(value, Undefined) for value in distances(one))


def make(folder: Path, sampler: str, seeds: int, prompts: int = 3) -> Run:
    job = plan("shapes", sampler)
    run = open_run(job, str(folder), Settings())
    chosen = list(load_prompts("shapes", limit=prompts).prompts)
    shards = plan_shards(chosen, list(range(seeds)))
    generate([(job, run, shard) for shard in shards], Settings())
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    made = {
        "ddim": make(folder / "a", "ddim(steps=2)", seeds=3),
        "heun": make(folder / "b", "heun(steps=2)", seeds=3),
    }
    for run in made.values():
        evaluate(run, [NAME, "shapes-clip"])
    return made


def metric() -> PromptMetric:
    made = make_metric(NAME)
    assert isinstance(made, PromptMetric)
    return made


def read(run: Run, items: list[str] | None = None) -> pd.DataFrame:
    chosen = select(run, items)
    scores = prompt_scores(chosen, metric())
    return pd.concat([chosen.frame(["prompt_id", "seed"]), scores], axis=1)


def test_features_are_stored_once_and_scores_are_not(runs: dict[str, Run]) -> None:
    report = evaluate(runs["ddim"], [NAME])
    assert report.outcomes[NAME].computed_shards == 0
    assert str(report.outcomes[NAME]) == f"{NAME}: 9 of 9 images encoded"
    assert sorted(p.name for p in Path(runs["ddim"].path, "scores").iterdir()) == ["shapes-clip"]
    assert Path(runs["ddim"].path, "features", "shapes-dual-encoder").is_dir()


def test_prompts_are_told_apart_over_shards_and_seeds(runs: dict[str, Run]) -> None:
    run = runs["ddim"]
    assert len(run.shards()) > 1, "a prompt's seeds lie in several shards"
    found = read(run)
    features, valid = select(run, None).features("shapes-dual-encoder")
    assert valid.all()
    for _, members in found.groupby("prompt_id"):
        own = distances(features[members.index])
        np.testing.assert_allclose(members["value"], own, atol=1e-12)  # type: ignore[arg-type]


def test_only_the_asked_seeds_count_and_one_image_has_no_diversity(runs: dict[str, Run]) -> None:
    whole = read(runs["ddim"])
    ids = whole["prompt_id"].unique()
    some = read(runs["ddim"], [f"{ids[0]}/0", f"{ids[0]}/2", f"{ids[1]}/1"])
    pair, alone = some[some["prompt_id"] == ids[0]], some[some["prompt_id"] == ids[1]]
    one, other = pair["value"]
    assert one == pytest.approx(other, abs=1e-12)
    assert one != pytest.approx(whole["value"][0], abs=1e-6), "seed 1 is left out"
    assert pair["reason"].isna().all()
    assert alone["value"].isna().all()
    assert alone["reason"].tolist() == ["there is no other image of its prompt"]


def test_it_is_compared_beside_item_metrics(runs: dict[str, Run], tmp_path: Path) -> None:
    metrics = make_metrics(["shapes-clip", NAME])
    made = compare_runs(runs["ddim"], {"own": runs["heun"]}, metrics, str(tmp_path))
    pairs = made.pairs[made.pairs["metric"] == NAME]
    assert len(pairs) == 9
    ours = read(runs["ddim"]).sort_values(["prompt_id", "seed"])["value"]
    theirs = read(runs["heun"]).sort_values(["prompt_id", "seed"])["value"]
    pairs = pairs.sort_values(["prompt_id", "seed"])
    # a prompt's images may be in another order here, in which BLAS multiplies them otherwise
    np.testing.assert_allclose(pairs["a_value"], ours, atol=1e-12, rtol=0)
    np.testing.assert_allclose(pairs["b_value"], theirs, atol=1e-12, rtol=0)
    np.testing.assert_array_equal(pairs["outcome"], (np.sign(ours - theirs).to_numpy() + 1) / 2)
    means = made.summary[made.summary["metric"] == NAME].set_index("run")["mean"]
    assert means["candidate"] == pytest.approx(ours.mean())
    assert means["own"] == pytest.approx(theirs.mean())


def test_missing_features_ask_for_an_evaluation(runs: dict[str, Run], tmp_path: Path) -> None:
    bare = make(tmp_path / "bare", "ddim(steps=3)", seeds=2)
    with pytest.raises(HarnessError, match="features of 'shapes-dual-encoder' are missing"):
        compare_runs(bare, {"own": runs["heun"]}, make_metrics([NAME]), str(tmp_path))


def test_bench_and_list_know_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def harness(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["harness", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code
        return capsys.readouterr().out

    out = harness(
        "bench", "heun(steps=2)", "--limit", "2", "--seeds", "0-1",
        "--metrics", f"shapes-alignment,{NAME}", "--results", str(tmp_path), "--workers", "1",
    )  # fmt: skip
    assert "Dual-encoder" in out
    assert "image in its prompt" in harness("list", "metrics")


def test_dinov2_is_an_encoder_of_it_too(runs: dict[str, Run], tmp_path: Path) -> None:
    """On a small network of the official file's format."""
    checkpoint = dinov2_state(tmp_path / "tiny.pth")
    metric = f"diversity(checkpoint={checkpoint})"
    report = evaluate(runs["ddim"], [metric])
    assert not report.missing
    made = make_metric(metric)
    assert isinstance(made, PromptMetric)
    values = prompt_scores(select(runs["ddim"], None), made)["value"]
    assert bool(values.between(0, 2).all())
    assert float(values.max()) > 0
