"""Runs of a captured pipeline: what is recorded of it, and its two numbers of guidance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.comparison.guidance_scales import guidance_scale
from harness.core.errors import HarnessError
from tests.models.tiny_captured import flux


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flux") / "tiny-flux"
    flux().save_pretrained(path)
    return path


def _run(folder: Path, sampler: str, results: Path, settings: str = "") -> Any:
    prompts = results / "prompts.txt"
    prompts.write_text("a red cat\na blue dog on the house\n")
    return harness.generate(
        sampler,
        model=f"{folder}{settings}",
        prompts=prompts,
        results=str(results),
        size=(64, 64),
        workers=1,
    )


def test_a_run_records_the_self_check_and_both_guidance_scales(
    folder: Path, tmp_path: Path
) -> None:
    run = _run(folder, "ddim(steps=2, guidance=2)", tmp_path)
    record = json.loads((Path(run.path) / "run.json").read_text())
    assert record["spec"]["model"] == "tiny-flux(distilled_guidance=3.5)"
    assert record["pipeline"]["distilled guidance"] == 3.5
    checked = record["pipeline"]["self-check"]
    assert checked["error"] < checked["tolerance"] == 1e-4
    scale = guidance_scale(run)
    assert (scale.value, scale.declared) == (pytest.approx(2), False)
    assert run.images()["nfe"].tolist() == [4, 4]
    other = _run(folder, "ddim(steps=2, guidance=2)", tmp_path, "(distilled_guidance=1.5)")
    assert other.spec.run_id != run.spec.run_id
    assert not (Path(other.path) / "images").samefile(Path(run.path) / "images")


def test_a_size_that_it_does_not_make_is_refused_before_work(folder: Path) -> None:
    with pytest.raises(HarnessError, match="must be multiples of 16"):
        harness.sample("ddim(steps=2)", model=str(folder), prompt="a red cat", size=(72, 64))
