"""`--dry-run` says before anything is made what a command then makes, and makes nothing itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.core.errors import HarnessError
from harness.runs.forecast import Forecast
from harness.store.run import Run
from tests.conftest import harness as command

OPTIONS: dict[str, Any] = {
    "model": "gmm",
    "bench": "shapes",
    "metrics": "contrast",
    "curve": "3",
    "workers": 1,
}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of a bench on eight prompts that takes no time; nothing is cached."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "p.txt").write_text("".join(f"class {at}\n" for at in range(8)))
    return {**OPTIONS, "prompts": "p.txt", "seeds": "0-1"}


def _forecast(found: object) -> Forecast:
    assert isinstance(found, Forecast)
    return found


def test_a_bench_makes_what_its_dry_run_said(asked: dict[str, Any], tmp_path: Path) -> None:
    said = _forecast(harness.bench("zigzag(steps=3)", dry_run=True, **asked))
    assert sorted(os.listdir(tmp_path)) == ["p.txt"]
    assert [run.images for run in said.runs] == [16] * 6
    assert said.images == 6 * 16
    assert not said.sure
    told: list[str] = []
    harness.bench("zigzag(steps=3)", note=told.append, **asked)
    made = {
        run.spec.sampler.name + str(run.spec.sampler.params["steps"]): run
        for path in (tmp_path / "results" / "p" / "gmm").iterdir()
        if (run := Run.open(str(path)))
    }
    nfe = {(run.cost() or {})["rehearsed"] for run in made.values()}
    assert nfe == set(said.table["evaluations"])
    assert sum(len(Run.open(str(p)).images()) for p in Path("results/p/gmm").iterdir()) == 6 * 16
    evaluations = sum(
        int(Run.open(str(p)).images()["nfe"].sum()) for p in Path("results/p/gmm").iterdir()
    )
    assert said.evaluations == evaluations
    again = _forecast(harness.bench("zigzag(steps=3)", dry_run=True, **asked))
    assert again.sure
    assert again.images == 0
    assert again.lines == ["to make: nothing, all 96 images of 6 runs are here"]
    more = _forecast(harness.bench("zigzag(steps=3)", dry_run=True, **{**asked, "seeds": "0-2"}))
    assert more.runs[0].done == 16
    assert more.runs[0].due == 8
    assert (
        f"to make: about {said.images} images in 6 runs, {said.evaluations:,} evaluations" in told
    )


def test_time_and_room_are_as_recorded(asked: dict[str, Any]) -> None:
    run = harness.generate("ddim(steps=4)", model="gmm", prompts="p.txt", seeds="0-1")
    assert isinstance(run, Run)
    said = _forecast(
        harness.generate("ddim(steps=7)", model="gmm", prompts="p.txt", seeds=0, dry_run=True)
    )
    nfe = int(run.images()["nfe"].iloc[0])
    timing = run.frame("timing", ["images", "seconds", "device"])
    rate = timing["seconds"].sum() / (timing["images"].sum() * nfe)
    assert said.seconds == pytest.approx(rate * said.evaluations)
    assert timing["device"].iloc[0] in said.rate
    stored = sum(path.stat().st_size for path in Path(run.path, "images").glob("*.parquet"))
    assert said.bytes == pytest.approx(stored / 16 * 8)
    assert "as recorded" in said.room


def test_a_model_without_a_record_is_timed(asked: dict[str, Any], tmp_path: Path) -> None:
    said = _forecast(harness.generate("ddim", model="gmm", prompts="p.txt", dry_run=True))
    assert said.seconds is not None
    assert said.rate.endswith("as timed now")
    assert "an estimate" in said.room
    assert sorted(os.listdir(tmp_path)) == ["p.txt"]


def test_what_is_missing_is_named_and_nothing_is_fetched(
    asked: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    code = command(monkeypatch, "bench", "zigzag(steps=5)", "--model", "sdxl", "--dry-run")
    printed = " ".join(capsys.readouterr().out.split())
    assert code == 1
    assert "to make: about 2,000 images in 10 runs" in printed  # 200 prompts of DrawBench
    assert "no rate known: sdxl in float32" in printed
    assert "missing here: model sdxl, prompts drawbench, 5 metrics" in printed
    assert "on shapes's ladder, as sdxl's is not here" in printed
    assert sorted(os.listdir(tmp_path)) == ["p.txt"]


def test_the_lines_before_a_run_are_short(asked: dict[str, Any]) -> None:
    told: list[str] = []
    harness.bench("heun(steps=3)", note=told.append, **{**asked, "seeds": "0", "curve": "none"})
    began = next(at for at, line in enumerate(told) if line.startswith("to make:"))
    lines = told[began : began + 3]
    assert [line.split(":")[0] for line in lines] == ["to make", "time", "disk"]
    assert max(map(len, lines)) <= 80


def test_a_sweep_a_tuning_and_an_ablation_say_what_they_make(asked: dict[str, Any]) -> None:
    free = {name: value for name, value in asked.items() if name != "curve"}
    swept = _forecast(harness.sweep("ddim", vary="steps=2,3", dry_run=True, **free))
    assert [run.job.nfe for run in swept.runs] == [4, 6]
    assert swept.sure
    changed = harness.ablate("zigzag(steps=4)", change="rounds=2", dry_run=True, **free)
    assert [run.name for run in _forecast(changed).runs][:2] == ["rounds=2", "baseline"]
    trials = {"vary": "guidance=1,2,4", "dry_run": True}
    tuned = _forecast(harness.tune("heun(steps=3)", **trials, **asked))
    assert [run.sure for run in tuned.runs][:6] == [True] * 6
    assert not any(run.sure for run in tuned.runs[6:])


def test_mistakes_are_told_as_of_the_run_itself(asked: dict[str, Any]) -> None:
    with pytest.raises(HarnessError, match="unknown parameter 'stepz'"):
        harness.bench("zigzag(stepz=4)", dry_run=True, **asked)
