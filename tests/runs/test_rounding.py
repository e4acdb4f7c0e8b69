"""TF32 and compiling: recorded, warned of when a run goes on, and refused where they mean
nothing."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import HarnessError
from harness.core.shards import Prompt, plan_shards
from harness.models.compiled import Compiled
from harness.runs import loaded
from harness.runs.existing import computed_as
from harness.runs.folder import Settings, batch_size_of, open_run
from harness.runs.make import generate
from harness.runs.plan import plan
from harness.store.run import Run
from tests.conftest import TINY_SDXL

PROMPTS = [Prompt(str(i), f"a red circle {i}") for i in range(5)]
COMPILE = Settings(batch_size=4, compile=True)


def _made(folder: Path, settings: Settings) -> Run:
    job = plan("shapes", "ddim(steps=2)")
    run = open_run(job, str(folder), settings)
    generate([(job, run, shard) for shard in plan_shards(PROMPTS, [0])], settings)
    return run


def test_tf32_is_for_a_gpu() -> None:
    with pytest.raises(HarnessError, match="the device is cpu: leave it out"):
        Settings(tf32=True)
    settings = Settings("cuda:0", tf32=True)
    assert settings.shared()["tf32"] is True


def test_tf32_is_not_for_float64(tmp_path: Path) -> None:
    job = plan("shapes", "ddim(steps=2)", dtype="float64")
    with pytest.raises(HarnessError, match="in float64"):
        open_run(job, str(tmp_path), Settings("cuda", tf32=True))


def test_they_are_recorded_beside_the_identity_and_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = plan("shapes", "ddim(steps=2)", dtype="float32")
    plain, rounded = Settings("cuda"), Settings("cuda", tf32=True, compile=True)
    runs = [open_run(job, str(tmp_path / n), s) for n, s in (("a", plain), ("b", rounded))]
    one, two = (json.loads((Path(run.path) / "run.json").read_text()) for run in runs)
    assert one["run_id"] == two["run_id"]
    assert two["environment"] == {**one["environment"], "tf32": "yes", "compile": "yes"}
    assert two["resolved"] == one["resolved"]
    open_run(job, str(tmp_path / "b"), rounded)
    assert not caplog.text
    open_run(job, str(tmp_path / "b"), plain)
    assert "begun with --tf32, now it goes on without" in caplog.text
    assert "begun with --compile, now it goes on without" in caplog.text
    open_run(job, str(tmp_path / "a"), rounded)
    assert "begun without --tf32, now it goes on with" in caplog.text
    assert computed_as(runs[1], plain) == rounded
    assert computed_as(runs[1], Settings()) == Settings(compile=True)


def test_a_compiled_run_is_the_plain_one_up_to_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its cost is counted as ever, and what compiling takes is not charged to its images."""
    monkeypatch.setattr(loaded, "Compiled", partial(Compiled, backend="eager"))
    monkeypatch.setattr(Compiled, "taken", lambda self: 1e6)
    runs = [_made(tmp_path / "a", Settings(batch_size=4)), _made(tmp_path / "b", COMPILE)]
    assert "compiled UNet2DConditionModel in " in capsys.readouterr().err
    assert runs[0].cost() == runs[1].cost()
    timing = [run.frame("timing") for run in runs]
    assert float(timing[0]["seconds"].iloc[0]) > 0
    assert float(timing[1]["seconds"].iloc[0]) < 0
    assert [list(one["batch_images"].iloc[0]) for one in timing] == [[4, 1], [3, 2]]
    images = [run.images() for run in runs]
    assert images[0].filter(like="nfe").equals(images[1].filter(like="nfe"))
    assert images[1]["failed"].isna().all()


@pytest.mark.parametrize(
    ("model", "sampler", "reason"),
    [
        ("shapes", "asyndm(steps=2)", "changes layers of the network while it runs"),
        ("shapes", "ddim(steps=2, pag_scale=1.5)", "pag_scale changes layers"),
        ("shapes", "w2sd(steps=2, weak_model=shapes)", "second network"),
        ("gmm", "ddim(steps=2)", "no network that torch could compile"),
    ],
)
def test_what_cannot_be_compiled_is_refused_before_weights_load(
    model: str, sampler: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(HarnessError, match=reason):
        open_run(plan(model, sampler), str(tmp_path / "run"), COMPILE)
    assert not (tmp_path / "run").exists()


def test_a_network_that_is_elsewhere_is_refused(tmp_path: Path) -> None:
    job = plan(f"{TINY_SDXL}(offload=model)", "ddim(steps=2)")
    with pytest.raises(HarnessError, match="offload=model"):
        open_run(job, str(tmp_path), COMPILE)


@pytest.mark.parametrize(("given", "size"), [(None, None), ("auto", None), (3, 3), ("8", 8)])
def test_a_batch_size_is_a_number_or_auto(given: Any, size: int | None) -> None:
    assert batch_size_of(given) == size


@pytest.mark.parametrize("given", ["0", "atuo", "-1", 0, True, "2.5"])
def test_other_batch_sizes_are_refused(given: Any) -> None:
    with pytest.raises(HarnessError, match="at least 1 is needed, or auto"):
        batch_size_of(given)
