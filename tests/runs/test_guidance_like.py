"""Guidance that is matched image by image: an ordinary run, however it is made."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from harness.comparison.guidance_scales import guidance_scale
from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.core.shards import Prompt, plan_shards
from harness.engine.resolve import resolve
from harness.experiments.fair_baselines import (
    BOTH,
    GUIDED,
    MATCHED,
    Fairness,
    fair_baselines,
)
from harness.experiments.pricing import FairPair
from harness.runs.folder import Settings, open_run
from harness.runs.make import generate
from harness.runs.plan import PlannedRun, plan
from harness.runs.realised import realised_guidance
from harness.runs.single import draw, expand
from harness.store.item_guidance import GA_EVAL, image_scales
from harness.store.run import Run
from tests.conftest import harness

PROMPTS = [Prompt(f"p{i}", f"class {i}") for i in range(6)]
ZIGZAG, DDIM = "zigzag(steps=5, guidance=2, guidance_rescale=0.5)", "ddim(steps=5, guidance=2)"
SHARD = "part-00000-00000"


def _made(job: PlannedRun, folder: Path, batch: int | None = None) -> Run:
    settings = Settings(batch_size=batch)
    run = open_run(job, str(folder / job.folder), settings)
    generate([(job, run, shard) for shard in plan_shards(PROMPTS, [0])], settings)
    return run


def _pair(folder: Path, candidate: str = ZIGZAG, baseline: str = DDIM) -> FairPair:
    jobs = [plan("gmm", text) for text in (candidate, baseline)]
    return FairPair(*jobs, (_made(jobs[0], folder), _made(jobs[1], folder)))


def _like(run: Run, more: str = "") -> PlannedRun:
    return plan("gmm", f"ddim(steps=5, guidance=2, guidance_like={run.spec.run_id}{more})")


def _scales(run: Run) -> np.ndarray:
    return run.frame("images", ["guidance_scale"])["guidance_scale"].to_numpy().copy()


def test_every_image_has_the_scale_of_its_image(tmp_path: Path) -> None:
    """And is, bit for bit, the image of plain guidance at that scale."""
    candidate = _pair(tmp_path).runs[0]
    wanted = _scales(candidate)
    assert np.ptp(wanted) > 0.01
    job = _like(candidate)
    assert job.nfe == 10
    run = _made(job, tmp_path)
    assert _scales(run) == pytest.approx(wanted, rel=1e-12)
    single = _made(plan("gmm", f"ddim(steps=5, guidance={float(wanted[3])!r})"), tmp_path)
    images = [one.frame("images", ["image"])["image"].tolist() for one in (run, single)]
    assert images[0][3] == images[1][3]
    courses = [np.stack(one.frame("guidance", ["push"])["push"]) for one in (run, single)]
    assert np.array_equal(courses[0][3], courses[1][3])
    assert not np.array_equal(courses[0][2], courses[1][2])


def test_restarts_make_the_same_bytes(tmp_path: Path) -> None:
    candidate = _pair(tmp_path).runs[0]
    run = _made(_like(candidate), tmp_path)
    files = [Path(run.file(kind, SHARD)) for kind in ("images", "guidance")]
    before = [file.read_bytes() for file in files]
    files[0].unlink()
    _made(_like(candidate), tmp_path)
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize("batch", [1, 4])
def test_batches_change_the_images_by_rounding_only(batch: int, tmp_path: Path) -> None:
    """Kernels may sum otherwise in another batch; 8 bits do not show float64's rounding."""
    candidate = _pair(tmp_path).runs[0]
    run = _made(_like(candidate), tmp_path)
    whole = run.frame("images"), run.frame("guidance")
    Path(run.file("images", SHARD)).unlink()
    _made(_like(candidate), tmp_path, batch)
    images, guidance = run.frame("images"), run.frame("guidance")
    assert images["image"].tolist() == whole[0]["image"].tolist()
    scales = images["guidance_scale"], whole[0]["guidance_scale"]
    np.testing.assert_allclose(*scales, rtol=1e-9)
    for name in ("sigma", "travel", "scale", "push"):
        found, expected = (np.stack(frame[name]) for frame in (guidance, whole[1]))
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_it_is_a_run_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.txt").write_text("\n".join(prompt.text for prompt in PROMPTS))
    command = ["generate", "--model", "gmm", "--prompts", str(tmp_path / "p.txt")]
    command += ["--results", str(tmp_path), "--sampler"]
    run_id = plan("gmm", ZIGZAG).spec.run_id
    like = f"ddim(steps=5, guidance_like={run_id})"
    assert harness(monkeypatch, *command, like) == 2  # not before that one is made
    assert harness(monkeypatch, *command, ZIGZAG) == 0
    assert harness(monkeypatch, *command, like) == 0
    runs = {Run.open(str(path.parent)) for path in tmp_path.rglob("run.json")}
    scales = {run.spec.sampler.name: _scales(run) for run in runs if run.shards()}
    assert scales["ddim"] == pytest.approx(scales["zigzag"])


def test_guidance_is_matched_image_by_image(tmp_path: Path) -> None:
    pair = _pair(tmp_path)
    fair = fair_baselines(pair, lambda call: plan("gmm", call), Fairness("nfe", "per_image", []))
    assert fair.absent == {}
    assert fair.scale == pytest.approx(_scales(pair.runs[0]).mean())
    assert fair.jobs[BOTH].nfe == fair.jobs[MATCHED].nfe
    for name in (GUIDED, BOTH):
        made = _made(fair.jobs[name], tmp_path)
        assert _scales(made) == pytest.approx(_scales(pair.runs[0]))
        found = guidance_scale(made)
        assert found.sd == pytest.approx(_scales(made).std(ddof=1))


def test_guidance_is_matched_as_published(tmp_path: Path) -> None:
    """ga_eval is kept with each image, and read by name only."""
    pair = _pair(tmp_path, "zigzag(steps=5, guidance=2, zigzag_steps=1)")
    kept = image_scales(pair.runs[0], SHARD, GA_EVAL)
    request = expand([p.text for p in PROMPTS], [], [0], None)
    mean = realised_guidance(pair.candidate, request, Settings()).ga_eval_mean
    assert mean is not None
    expected = mean.numpy()
    assert list(kept.values()) == pytest.approx(expected)
    assert np.ptp(expected) > 0.01
    fair = fair_baselines(pair, lambda call: plan("gmm", call), Fairness("nfe", "ga_eval", []))
    assert fair.scale == pytest.approx(expected.mean())
    run = _made(fair.jobs[GUIDED], tmp_path)
    assert _scales(run) == pytest.approx(expected)
    other = _pair(tmp_path, "heun(steps=3, guidance=4)")
    fair = fair_baselines(other, lambda call: plan("gmm", call), Fairness("nfe", "ga_eval", []))
    assert "steps that are altered (zigzag, w2sd)" in fair.absent[GUIDED]


def test_images_of_one_scale_have_one_run_for_all(tmp_path: Path) -> None:
    pair = _pair(tmp_path, "heun(steps=3, guidance=4)")
    fair = fair_baselines(pair, lambda call: plan("gmm", call), Fairness("nfe", "per_image", []))
    assert fair.jobs[GUIDED].spec == plan("gmm", "ddim(steps=5, guidance=4.0)").spec


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    pair = _pair(tmp_path, "ddim(steps=8, guidance=4, interval=[0.3, 3.0])")
    fair = fair_baselines(pair, lambda call: plan("gmm", call), Fairness("nfe", "per_image", []))
    assert "no nominal guidance scale of its own" in fair.absent[GUIDED]
    pair = _pair(tmp_path)
    moved = tmp_path / "elsewhere"
    shutil.copytree(pair.runs[0].path, moved)
    away = FairPair(pair.candidate, pair.baseline, (Run.open(str(moved)), pair.runs[1]))
    fair = fair_baselines(away, lambda call: plan("gmm", call), Fairness("nfe", "per_image", []))
    assert "beside the baseline's" in fair.absent[GUIDED]
    job = _like(pair.runs[0])
    with pytest.raises(HarnessError, match="not with single pictures"):
        draw(job, expand(["class 1"], [], [0], None), Settings())
    job = plan("gmm", "ddim(steps=5, guidance=2, guidance_like=nothing-12345678)")
    with pytest.raises(HarnessError, match="holds no run"):
        _made(job, tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ddim(steps=5, guidance=0, guidance_like=a)", "parameter guidance that is not 0"),
        ("cfgpp(steps=5, guidance_like=a)", "parameter guidance that is not 0"),
        ("ddim(steps=5, guidance_like='../a')", "guidance_like"),
        ("ddim(steps=5, guidance_estimate=ga_eval)", "has no effect without guidance_like"),
        ("ddim(steps=5, guidance_like=a, guidance_schedule=[[1.0, 2.0]])", "contradict"),
    ],
)
def test_impossible_parameters_are_refused(text: str, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        resolve(parse_call(text), {})


def test_an_image_that_failed_lends_no_scale(tmp_path: Path) -> None:
    """Its pair is lost in any case; the other image is made with the sampler's own guidance."""
    candidate = _pair(tmp_path).runs[0]
    table = candidate.read("images", SHARD)
    failed = [None, None, "not finite", None, None, None]
    at = table.column_names.index("failed")
    changed = table.set_column(at, table.schema.field(at), [failed])
    candidate.write("images", SHARD, changed, str(candidate.items_key("images", SHARD)))
    wanted = _scales(candidate)
    wanted[2] = 2.0
    assert _scales(_made(_like(candidate), tmp_path)) == pytest.approx(wanted)
