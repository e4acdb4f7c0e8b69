"""A fair comparison of two runs that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import HarnessError
from harness.core.shards import Prompt, plan_shards
from harness.experiments.bench import compare_fairly
from harness.experiments.fair_baselines import BOTH, GUIDED, MATCHED, OWN
from harness.runs.folder import Settings, open_run
from harness.runs.make import generate
from harness.runs.plan import plan
from harness.store.comparison_tables import load_comparison
from harness.store.run import Run

PROMPTS = [Prompt(f"p{i}", f"class {i}", f"kind {i % 2}", {"n": i}) for i in range(5)]


def _made(folder: Path, sampler: str, seeds: list[int]) -> Run:
    job = plan("gmm", sampler)
    run = open_run(job, str(folder / job.spec.run_id), Settings())
    generate([(job, run, shard) for shard in plan_shards(PROMPTS, seeds)], Settings())
    return run


def _compared(folder: Path, a: Run, b: Run) -> None:
    out = str(folder / "out")
    compare_fairly(a, b, metrics=["contrast"], out=out, match="nfe", curve=[1.0, 2.0], workers=1)


def test_what_two_runs_need_beside_them_is_made_like_them(tmp_path: Path) -> None:
    """Of the seeds that both hold, on the same prompts; a second time nothing is made."""
    zigzag = _made(tmp_path, "zigzag(steps=4, guidance=3)", [0, 1])
    ddim = _made(tmp_path, "ddim(steps=4, guidance=3)", [1, 2])
    _compared(tmp_path, zigzag, ddim)
    found = load_comparison(str(tmp_path / "out"))
    assert set(found.baselines) == {OWN, MATCHED, GUIDED, BOTH}
    assert all(len(found.pairs[found.pairs["comparison"] == name]) == 5 for name in found.baselines)
    assert set(found.pairs["seed"]) == {1}
    assert found.runs[MATCHED].cost.nfe == pytest.approx(found.candidate.cost.nfe, abs=2)
    curve = load_comparison(str(tmp_path / "out" / "curve"))
    assert list(curve.baselines) == ["guidance 1", "guidance 2"]
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("images/*.parquet")}
    _compared(tmp_path, zigzag, ddim)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("images/*.parquet")} == stamps


@pytest.mark.parametrize("before", ["", "../{}/", "{}/../"])
def test_runs_may_be_named_from_where_they_are(
    before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made lies beside the baseline, and each image's scale is found in the candidate."""
    zigzag, ddim = "zigzag(steps=4, guidance=2, guidance_rescale=0.5)", "ddim(steps=4, guidance=2)"
    made = [_made(tmp_path / "runs", sampler, [0]) for sampler in (zigzag, ddim)]
    (tmp_path / "runs" / "other").mkdir()
    monkeypatch.chdir(tmp_path / "runs")
    near = before.format("other" if before.endswith("../") else "runs")
    opened = [Run.open(near + Path(run.path).name) for run in made]
    how = {"match": "nfe", "match_guidance": "per_image", "curve": "none", "workers": 1}
    found = compare_fairly(*opened, metrics=["contrast"], out=str(tmp_path / "out"), **how)
    assert found.absent == {}
    like = found.runs[GUIDED].sampler.params["guidance_like"]
    assert like == made[0].spec.run_id
    assert len(list((tmp_path / "runs").glob("*/run.json"))) == 5


def test_runs_without_a_common_shard_are_refused(tmp_path: Path) -> None:
    one = _made(tmp_path, "heun(steps=3, guidance=1)", [0])
    with pytest.raises(HarnessError, match="hold no shard in common"):
        _compared(tmp_path, one, _made(tmp_path, "ddim(steps=3, guidance=1)", [7]))


def test_two_models_are_not_compared_fairly(tmp_path: Path) -> None:
    one = _made(tmp_path, "heun(steps=3, guidance=2)", [0])
    job = plan("gmm", "ddim(steps=3)", noise_key="seed")
    other = open_run(job, str(tmp_path / job.spec.run_id), Settings())
    with pytest.raises(HarnessError, match="noise_key is 'prompt' in the candidate"):
        _compared(tmp_path, one, other)
