"""Runs by functions of a pipeline: planned, tried out, recorded, and compared with ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import harness
from harness.comparison.cost import recorded_cost
from harness.comparison.guidance_scales import guidance_scale
from harness.core.errors import HarnessError
from harness.experiments.bench import compare_fairly
from harness.reporting.words import why_unpaired
from harness.runs.existing import planned_again
from harness.runs.folder import Settings
from harness.runs.plan import plan
from harness.store.pictures import decode
from harness.store.run import Run
from tests.conftest import harness as command
from tests.engine.whole_pipelines.forms import OWN_CALL, returning, written
from tests.models.tiny_captured import flux

PROMPTS = "a red circle\na blue square above a green star\na yellow triangle\n"


def _made(folder: Path, sampler: str, **more: Any) -> Run:
    folder.mkdir(exist_ok=True)
    prompts = folder / "prompts.txt"
    prompts.write_text(PROMPTS)
    made: Run = harness.generate(
        sampler, prompts=str(prompts), results=str(folder / "results"), workers=1, **more
    )
    return made


def _trial(run: Run) -> Any:
    return json.loads(Path(run.path, "trial.json").read_text())


def test_a_run_is_counted_priced_and_made_again(tmp_path: Path) -> None:
    run = _made(tmp_path, f"{written(tmp_path, OWN_CALL)}(steps=3)")
    trial = _trial(run)
    assert (trial["together"], trial["paired"], trial["why"]) == (True, True, None)
    assert run.paired
    cost = recorded_cost(run)
    ours = _made(tmp_path, "ddim(steps=3)")
    assert cost.nfe_by_branch == {"main/cond": 3.0, "main/uncond": 3.0}
    assert (cost.nfe, cost.rehearsed, cost.sigmas) == (6, None, None)
    assert cost.macs == recorded_cost(ours).macs  # encoders and decoder do not count
    assert str(guidance_scale(run).reason).startswith("guidance scale unknown: ")
    assert Path(run.path, "mine.py").read_text() == OWN_CALL
    again = planned_again(run, Settings())
    assert again.spec == run.spec
    (tmp_path / "mine.py").write_text(OWN_CALL + "\n")
    other = plan("shapes", f"pipeline:{tmp_path}/mine.py:run(steps=3)")
    assert other.spec.run_id != run.spec.run_id
    assert ":" not in run.spec.run_id


@pytest.mark.slow
def test_guidance_is_unknown_unless_it_is_declared(tmp_path: Path) -> None:
    sampler = written(tmp_path, OWN_CALL)
    unknown = _made(tmp_path, f"{sampler}(steps=2)")
    found = guidance_scale(unknown)
    assert found.value is None
    assert found.reason is not None
    assert found.reason.startswith("guidance scale unknown: ")
    told = _made(tmp_path, f"{sampler}(steps=2, nominal_guidance=4)")
    assert guidance_scale(told).value == 4
    assert told.images()["guidance_scale"].tolist() == [4] * 3
    baseline = _made(tmp_path, "ddim(steps=1)")
    for run, absent in (
        (unknown, {"matched guidance", "matched cost and guidance"}),
        (told, set()),
    ):
        tables = compare_fairly(run, baseline, metrics=["contrast"], curve=[], workers=1)
        assert set(tables.absent) == absent
        matched = tables.runs["matched cost"]
        assert matched.sampler.params["steps"] == 2
        assert matched.cost.nfe == tables.candidate.cost.nfe == 4
    assert tables.runs["matched guidance"].sampler.params["guidance"] == 4


def _pixels(run: Run) -> NDArray[np.int64]:
    """A run's pictures [N, 3, H, W]."""
    return np.stack([decode(image["bytes"]) for image in run.frame("images")["image"]]).astype(int)


MIXES = returning("z / z.std()")
OWN_NOISE = OWN_CALL.replace("latents=latents, ", "")
NONE_TAKEN = OWN_NOISE.replace("latents, ", "")
ONE_BY_ONE = """
import torch

def run(pipeline, prompts, latents, steps: int = 2):
    return torch.cat([
        pipeline(text, latents=z[None], num_inference_steps=steps, output_type="latent").images
        for text, z in zip(prompts, latents)
    ])
"""


@pytest.mark.parametrize(
    ("text", "together", "paired", "why"),
    [
        (MIXES, False, True, "a picture made with two others differs by"),
        (ONE_BY_ONE, False, True, "its network is called with rows of some pictures only"),
        (OWN_NOISE, True, False, None),
        (NONE_TAKEN, True, False, None),
    ],
    ids=["mixes", "one by one", "its own noise", "none taken"],
)
def test_a_trial_says_how_pictures_are_made(
    tmp_path: Path, text: str, together: bool, paired: bool, why: str | None
) -> None:
    run = _made(tmp_path, f"{written(tmp_path, text)}(steps=2)")
    trial = _trial(run)
    assert (trial["together"], trial["paired"]) == (together, paired)
    assert (trial["why"] or "").startswith(why or "")
    assert run.paired is paired
    assert recorded_cost(run).nfe == 4
    if not together:
        sampler = f"pipeline:{tmp_path}/mine.py:run(steps=2)"
        alone = _made(tmp_path / "alone", sampler, batch_size=1)
        # latents are equal, but they are decoded in batches, which may round otherwise: a level
        one, other = (_pixels(each) for each in (run, alone))
        assert np.abs(one - other).max() <= 1
    if text == NONE_TAKEN:
        baseline = _made(tmp_path, "ddim(steps=2)")
        tables = compare_fairly(run, baseline, metrics=["contrast"], curve=[], workers=1)
        assert (tables.candidate.paired, tables.runs["own"].paired) == (False, True)
        assert why_unpaired(tables, "own") == "images begin with noise of their own"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            returning("z + np.random.rand()"),
            "makes another picture each time",
        ),
        (
            returning("z", "pipeline.unet.conv_in.weight.data += 1"),
            "changes the pipeline's weights",
        ),
        (returning("z[:1]"), "returns 1 pictures for 3 prompts"),
    ],
)
def test_a_trial_refuses_what_cannot_be_made_again(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        _made(tmp_path, written(tmp_path, text))


def test_pictures_that_are_not_finite_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    sampler = written(tmp_path, returning("z * torch.nan"))
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(PROMPTS)
    results = ["--prompts", str(prompts), "--results", str(tmp_path), "--workers", "1"]
    assert command(monkeypatch, "generate", "--sampler", sampler, *results) != 0
    assert "3 of 3 pictures of pipeline:mine.py:run" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def other(pipeline, prompts, latents): pass", "no function 'run'|unknown function 'run'"),
        ("def run(prompts, latents): pass", "it takes no pipeline; write def run"),
        ("def run(pipeline, prompts): pass", "neither latents nor generators"),
        ("def run(pipeline, prompts, latents, **rest): pass", r"it takes any \*\*rest"),
        ("def run(pipeline, prompts, latents, steps): pass", "its parameter steps needs a default"),
        ("def run(pipeline, prompts, /, latents): pass", "pipeline cannot be given by name"),
        ("def run(pipeline, prompts, latents, nominal_guidance=1): pass", "declares its guidance"),
        ("def run(pipeline, prompts, latents, steps: Nothing = 1): pass", "NameError: name 'Noth"),
        ("def run(", "SyntaxError"),
    ],
)
def test_bad_functions_are_refused_before_weights(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(HarnessError, match=message) as found:
        plan("shapes", written(tmp_path, text))
    assert "\n" not in str(found.value)


def test_bad_texts_are_refused_before_weights(tmp_path: Path) -> None:
    sampler = written(tmp_path, OWN_CALL)
    for text, message in {
        "pipeline:mine.txt:run": "expected pipeline:FILE.py:FUNCTION",
        f"pipeline:{tmp_path}/mien.py:run": "did you mean",
        f"pipeline:{tmp_path}/mine.py": "name the function as well, pipeline:",
        f"{sampler}(step=3)": "did you mean 'steps'",
        f"{sampler}(steps=half)": "steps='half'",
        f"{sampler}(sigma_max=5)": "sigma_max",
        f"{sampler}(nominal_guidance=-1)": "greater than 0",
    }.items():
        with pytest.raises(HarnessError, match=message):
            plan("shapes", text)
    for model in ("gmm", "shapes-edm"):
        with pytest.raises(HarnessError, match=f"which {model} does not have"):
            plan(model, sampler)
    with pytest.raises(HarnessError, match="takes no parameter negative_prompts"):
        plan("shapes", sampler, negative="blurry")


@pytest.mark.slow
def test_a_bench_of_a_tiny_flux_comes_to_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    flux().save_pretrained(tmp_path / "tiny-flux")
    text = OWN_CALL.replace("output_type", "height=height, width=width, output_type").replace(
        "generators, steps", "generators, height, width, steps"
    )
    sampler = written(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("a red cat\nblue dog\n")
    options = [
        "--prompts",
        "prompts.txt",
        "--size",
        "64",
        "--metrics",
        "contrast",
        "--curve",
        "1,2",
    ]
    bench = ["bench", sampler.replace(str(tmp_path), "."), "--model", "./tiny-flux"]
    assert command(monkeypatch, *bench, *options, "--workers", "1", "--results", "results") == 0
    assert "matched cost" in capfd.readouterr().out
    assert list(tmp_path.glob("results/*/tiny-flux*/pipeline-*/report/index.html"))
