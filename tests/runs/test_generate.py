"""Shards of images: the same for any rank count and after any interruption."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch

from harness.core.errors import HarnessError
from harness.core.shards import Prompt, plan_shards
from harness.engine.probes.macs import Ledger
from harness.models.base import Model
from harness.runs import costing, maker
from harness.runs.folder import Settings, missing, open_run
from harness.runs.make import generate
from harness.runs.plan import PlannedRun, plan
from harness.runs.ranks import Ranks
from harness.store import files
from harness.store.run import Run
from tests.conftest import TINY_SDXL

PROMPTS = [Prompt(f"p{i}", f"class {i % 10}", f"kind {i % 2}", {"n": i}) for i in range(70)]
SETTINGS = Settings()


def _make(
    job: PlannedRun, folder: Path, prompts: list[Prompt], seeds: list[int], **changes: int
) -> None:
    settings = Settings(**changes)  # type: ignore[arg-type]
    run = open_run(job, str(folder), settings)
    generate(((job, run, shard) for shard in plan_shards(prompts, seeds)), settings)


def _images(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "images").glob("*.parquet"))}


def test_a_second_run_of_the_same_gives_the_same_bytes(tmp_path: Path) -> None:
    job = plan("gmm", "ddim(steps=3, eta=1)")
    _make(job, tmp_path / "a", PROMPTS, [0, 1])
    _make(job, tmp_path / "b", PROMPTS, [0, 1])
    assert len(_images(tmp_path / "a")) == 6
    assert _images(tmp_path / "a") == _images(tmp_path / "b")


def test_the_analysis_of_a_sampler_is_not_charged_to_its_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = maker.sampler_coefficients

    def slow(*of: Any) -> Any:
        time.sleep(2)
        return found(*of)

    monkeypatch.setattr(maker, "sampler_coefficients", slow)
    _make(plan("gmm", "zigzag(steps=2)"), tmp_path, PROMPTS[:2], [0])
    assert Run.open(str(tmp_path)).frame("timing")["seconds"].max() < 2


def test_more_seeds_and_prompts_extend_a_run(tmp_path: Path) -> None:
    job = plan("gmm", "ddim(steps=3)")
    _make(job, tmp_path, PROMPTS[:40], [0])
    first = _images(tmp_path)
    stamp = (tmp_path / "images" / "part-00000-00000.parquet").stat().st_mtime_ns
    _make(job, tmp_path, PROMPTS, [0, 1])
    after = _images(tmp_path)
    assert after["part-00000-00000.parquet"] == first["part-00000-00000.parquet"]
    assert (tmp_path / "images" / "part-00000-00000.parquet").stat().st_mtime_ns == stamp
    assert after["part-00000-00001.parquet"] != first["part-00000-00001.parquet"]
    assert len(after) == 6


def test_fewer_prompts_leave_a_larger_shard_as_it_is(tmp_path: Path) -> None:
    job = plan("gmm", "ddim(steps=3)")
    _make(job, tmp_path, PROMPTS[:20], [0])
    before = _images(tmp_path)
    _make(job, tmp_path, PROMPTS[:5], [0])
    assert _images(tmp_path) == before


@pytest.mark.parametrize("change", ["id", "text", "category", "notes"])
def test_other_prompts_in_the_same_folder_are_refused(tmp_path: Path, change: str) -> None:
    job = plan("gmm", "ddim(steps=3)")
    _make(job, tmp_path, PROMPTS[:4], [0])
    other = {"id": "q", "text": "class 7", "category": "new", "notes": {"n": 99}}[change]
    prompts = [*PROMPTS[:3], dataclasses.replace(PROMPTS[3], **{change: other})]
    with pytest.raises(HarnessError, match="holds images of other prompts"):
        _make(job, tmp_path, prompts, [0])


def test_out_of_memory_halves_the_batch_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.models.gmm import GaussianMixture

    job = plan("gmm", "ddim(steps=3, eta=1)")
    _make(job, tmp_path / "roomy", PROMPTS[:30], [0], batch_size=3)
    network = GaussianMixture.network

    def cramped(self: Model, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        if len(x) > 8:  # so that the pair of branches of more than 4 samples overflows
            raise torch.cuda.OutOfMemoryError
        return network(self, x, *rest)

    monkeypatch.setattr(GaussianMixture, "network", cramped)
    _make(job, tmp_path / "cramped", PROMPTS[:30], [0], batch_size=12)
    assert _images(tmp_path / "cramped") == _images(tmp_path / "roomy")


def test_rows_hold_what_the_design_says(tmp_path: Path) -> None:
    job = plan("gmm", "zigzag(steps=4, guidance=3)")
    _make(job, tmp_path, PROMPTS[:3], [5])
    frame = open_run(job, str(tmp_path), SETTINGS).frame("images")
    assert frame["item_id"].tolist() == ["p0/5", "p1/5", "p2/5"]
    assert frame["category"].tolist() == ["kind 0", "kind 1", "kind 0"]
    assert json.loads(frame["notes"][2]) == {"n": 2}
    assert frame["failed"].isna().all()
    assert set(frame["nfe"]) == {job.nfe} == {4 * 2 + 3 * 3}
    by_branch = {row["branch"]: row["evaluations"] for row in frame["nfe_by_branch"][0]}
    assert by_branch == {"cond": 7, "uncond": 10}
    assert (frame["width"][0], frame["height"][0]) == (8, 8)


def test_other_programs_open_the_shards(tmp_path: Path) -> None:
    import datasets

    job = plan("gmm", "ddim(steps=3)")
    _make(job, tmp_path, PROMPTS[:3], [0])
    pattern = str(tmp_path / "images" / "*.parquet")
    rows = datasets.load_dataset("parquet", data_files=pattern, cache_dir=str(tmp_path / "cache"))
    picture = rows["train"][0]["image"]
    assert picture.size == (8, 8)
    assert picture.mode == "RGB"
    counted = duckdb.sql(f"select count(*), min(octet_length(image.bytes)) from '{pattern}'")
    ((rows_found, smallest),) = counted.fetchall()
    assert rows_found == 3
    assert smallest > 50


def test_batch_size_changes_pictures_by_rounding_only(tmp_path: Path) -> None:
    job = plan("gmm", "ddim(steps=6, eta=1)")
    for size in (32, 5):
        _make(job, tmp_path / str(size), PROMPTS[:20], [0], batch_size=size)
    large, small = (Run.open(str(tmp_path / str(n))).frame("images") for n in (32, 5))
    assert large["item_id"].equals(small["item_id"])
    assert [row["bytes"] for row in large["image"]] == [row["bytes"] for row in small["image"]]


def test_pictures_that_cannot_be_scored_are_failed_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.models.gmm import GaussianMixture

    def denoised(
        self: Model, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor
    ) -> torch.Tensor:
        output = output.clone()
        output[1:2] = torch.nan
        output[2:3] = 0.25
        return output

    monkeypatch.setattr(GaussianMixture, "denoised", denoised)
    job = plan("gmm", "ddim(steps=3, guidance=1)")
    _make(job, tmp_path, PROMPTS[:4], [0])
    frame = open_run(job, str(tmp_path), SETTINGS).frame("images")
    assert frame["failed"].fillna("").tolist() == ["", "not finite", "blank", ""]
    assert frame["image"].isna().tolist() == [False, True, True, False]


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    open_run(plan("gmm", "ddim(steps=3)"), str(tmp_path), SETTINGS)
    with pytest.raises(HarnessError, match=r"its sampler.params.steps is 3, now 4"):
        open_run(plan("gmm", "ddim(steps=4)"), str(tmp_path), SETTINGS)
    with pytest.raises(HarnessError, match="its threads is 1, now 2"):
        open_run(plan("gmm", "ddim(steps=3)"), str(tmp_path), Settings(threads=2))


def test_other_versions_warn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = plan("gmm", "ddim(steps=3)")
    open_run(job, str(tmp_path), SETTINGS)
    record = json.loads((tmp_path / "run.json").read_text())
    record["environment"]["torch"] = "1.0"
    files.write_json(str(tmp_path / "run.json"), record)
    open_run(job, str(tmp_path), SETTINGS)
    assert "begun with torch 1.0" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "gm"}, "did you mean 'gmm'"),
        ({"sampler": "zigzog(steps=3)"}, "did you mean 'zigzag'"),
        ({"size": (12, 16)}, "multiples of 8"),
        ({"dtype": "float12"}, "unknown dtype"),
        ({"dtype": "float16"}, "computes in float64 only"),
        ({"noise_key": "promt"}, "did you mean 'prompt'"),
        ({"sampler": "ddim(steps=3, interval=[90, 100])"}, "highest level 80"),
        ({"sampler": "ddim(steps=3, spacing=leading)"}, "unknown spacing"),
        ({"sampler": "zigzag(steps=3, inversion=released)"}, "use inversion=exact"),
    ],
)
def test_mistakes_are_found_before_weights_are_loaded(
    arguments: dict[str, object], words: str
) -> None:
    with pytest.raises(HarnessError, match=words):
        plan(**{"model": "gmm", "sampler": "ddim(steps=3)", **arguments})  # type: ignore[arg-type]


def test_an_unknown_checkpoint_leaves_the_samplers_own_guidance() -> None:
    assert plan(str(TINY_SDXL), "zigzag(steps=4)").spec.sampler.params["guidance"] == 5.5
    assert plan("gmm", "zigzag(steps=4)").spec.sampler.params["guidance"] == 2.0


def test_files_exist_only_if_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        files.write_bytes(str(tmp_path / "a"), b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_run_lives_behind_any_url() -> None:
    job = plan("gmm", "ddim(steps=3)")
    url = "memory://results/run"
    run = open_run(job, url, SETTINGS)
    shards = plan_shards(PROMPTS[:3], [0])
    generate([(job, run, shards[0])], SETTINGS)
    assert missing(run, shards) == []
    assert open_run(job, url, SETTINGS).frame("images", ["item_id"]).shape == (3, 1)


def _command(folder: Path, *launcher: str, steps: int = 3) -> list[str]:
    prompts = folder.parent / "prompts.txt"
    prompts.write_text("\n".join(p.text for p in PROMPTS))
    sampler = f"ddim(steps={steps}, eta=1)"
    return [sys.executable, *launcher, "-m", "harness", "generate", "--model", "gmm",
            "--sampler", sampler, "--prompts", str(prompts), "--seeds", "0-8",
            "--out", str(folder)]  # fmt: skip


@pytest.mark.slow
def test_two_processes_and_a_killed_one_give_the_same_bytes(tmp_path: Path) -> None:
    """One process, two under torchrun, and one killed in the middle and begun again."""
    steps = 60
    subprocess.run(_command(tmp_path / "one", steps=steps), check=True, capture_output=True)
    expected = _images(tmp_path / "one")
    assert len(expected) == 9

    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    two = _command(tmp_path / "two", *launcher, steps=steps)
    subprocess.run(two, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert _images(tmp_path / "two") == expected

    killed = subprocess.Popen(_command(tmp_path / "killed", steps=steps), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    images = tmp_path / "killed" / "images"
    while not (images.is_dir() and any(images.glob("part-*"))) and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    survived = _images(tmp_path / "killed")
    assert 0 < len(survived) < 9
    assert all(expected[name] == data for name, data in survived.items())
    subprocess.run(_command(tmp_path / "killed", steps=steps), check=True, capture_output=True)
    assert _images(tmp_path / "killed") == expected


def test_each_image_tells_its_nominal_guidance_scale(tmp_path: Path) -> None:
    """A zigzag's is 11, but for the last step; its mean weighs steps and so differs by image."""
    _make(plan("gmm", "zigzag(steps=4, guidance=5.5)"), tmp_path, PROMPTS[:4], [0])
    run = Run.open(str(tmp_path))
    rows = run.frame("guidance")
    assert rows["item_id"].tolist() == run.frame("images", ["item_id"])["item_id"].tolist()
    for row, mean in zip(rows.itertuples(), run.frame("images")["guidance_scale"], strict=True):
        assert row.scale == pytest.approx([11, 11, 11, 5.5], abs=1e-9)
        weight = row.travel * row.push
        assert mean == pytest.approx((weight * row.scale).sum() / weight.sum())


def test_a_run_that_needs_no_guide_does_not_take_it_from_the_others(tmp_path: Path) -> None:
    """At guidance 1 a guide is left out; what is made after it, in one go, has its guide."""
    texts = ("heun(steps=3, guidance=1)", "ddim(steps=3, guidance=3)")
    jobs = [plan("gmm", text, guide="gmm") for text in texts]
    assert [job.spec.guide for job in jobs] == [None, "gmm"]
    shards = plan_shards(PROMPTS[:2], [0])
    runs = [open_run(job, str(tmp_path / job.folder), SETTINGS) for job in jobs]
    generate([(*one, shards[0]) for one in zip(jobs, runs, strict=True)], SETTINGS)
    _make(jobs[1], tmp_path / "alone", PROMPTS[:2], [0])
    assert _images(Path(runs[1].path)) == _images(tmp_path / "alone")


def test_an_unguided_network_has_no_guidance_scale(tmp_path: Path) -> None:
    job = plan("gmm", "ddim(steps=3)", guide="gmm")
    _make(job, tmp_path / "guided by another", PROMPTS[:2], [0])
    run = Run.open(str(tmp_path / "guided by another"))
    assert run.shards("guidance") == []
    assert run.frame("images")["guidance_scale"].isna().all()


def test_one_rank_counts_what_a_picture_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first that takes a shard of the run; another takes the rest meanwhile, and waits not."""
    store = torch.distributed.HashStore()
    job = plan("gmm", "ddim(steps=3)")
    runs = [open_run(job, str(tmp_path / name), SETTINGS) for name in "ab"]
    shards = plan_shards(PROMPTS, [0])
    work = [(job, run, shard) for shard in shards for run in runs]
    counted: list[list[bool]] = []
    count = costing.count_macs

    def counting(*args: Any) -> Ledger:
        counted.append([run.cost() is not None for run in runs])
        if len(counted) == 1:
            generate(second.share(work), SETTINGS, first=second.first)
        return count(*args)

    monkeypatch.setattr(costing, "count_macs", counting)
    one, second = (Ranks(rank, rank, 2, store) for rank in (0, 1))
    generate(one.share(work), SETTINGS, first=one.first)
    assert counted == [[False, False], [False, False]]  # a by the first rank, b by the second
    for run in runs:
        assert missing(run, shards) == []
        assert run.cost() == runs[0].cost() is not None
    generate([(job, run, shard) for shard in plan_shards(PROMPTS, [1]) for run in runs], SETTINGS)
    assert len(counted) == 2  # never again


def test_a_count_that_was_interrupted_is_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = plan("gmm", "ddim(steps=3)")
    run = open_run(job, str(tmp_path), SETTINGS)
    work = [(job, run, shard) for shard in plan_shards(PROMPTS, [0])]
    with monkeypatch.context() as patch:
        patch.setattr(costing, "count_macs", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            generate(work, SETTINGS)
    assert run.cost() is None
    generate(work, SETTINGS)
    assert run.cost() is not None


def _interrupted(*args: Any) -> Ledger:
    raise KeyboardInterrupt
