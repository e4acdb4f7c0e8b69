"""Samplers that make the very same pictures are found by them, and are one candidate."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness
from harness.comparison.decisions import holm
from harness.reporting import remarks
from harness.store.equal_pictures import same_pictures
from harness.store.survey_table import load_survey

BENCHMARK = """
title: Twins
model: gmm
prompts: {prompts}
seeds: "0"
steps: 4
guidance: 2.0
baseline: ddim
candidates:
  - {{sampler: ddpm, label: DDPM}}
  - {{sampler: euler_ancestral, label: Euler ancestral}}
  - {{sampler: heun, label: Heun}}
metrics: [contrast]
primary: {{metric: contrast, comparison: own}}
"""


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    (tmp_path / "p.txt").write_text("\n".join(f"class {i}" for i in range(8)))
    return tmp_path / "p.txt"


def test_the_same_run_twice_is_one_candidate(tmp_path: Path, prompts: Path) -> None:
    (tmp_path / "twins.yaml").write_text(BENCHMARK.format(prompts=prompts))
    benchmark = str(tmp_path / "twins.yaml")
    found = harness.survey(bench=benchmark, results=str(tmp_path / "results")).tables
    rows = {row.label: row for row in found.rows}
    assert rows["Euler ancestral"].same_as == "DDPM"
    assert rows["DDPM"].same_as is None
    assert rows["Heun"].same_as is None
    assert (
        sum("DDPM and Euler ancestral made the very same pictures" in n for n in found.notes) == 1
    )
    primary = {
        name: next(rate for rate in row.rates if rate.role == "primary")
        for name, row in rows.items()
        if not row.baseline
    }
    two = [primary["DDPM"].p_value, primary["Heun"].p_value]
    expected = holm(two)
    assert [primary["DDPM"].p_holm, primary["Heun"].p_holm] == expected
    assert primary["Euler ancestral"].p_holm == primary["DDPM"].p_holm
    folder = next((tmp_path / "results").rglob("survey.json")).parent
    assert {row.same_as for row in load_survey(str(folder)).rows} == {None, "DDPM"}


def test_two_runs_of_one_picture_are_said_to_be_one_sampler(tmp_path: Path, prompts: Path) -> None:
    texts = ["ddpm(steps=4)", "euler_ancestral(steps=4)", "heun(steps=4)"]
    a, b, c = (
        harness.generate(text, model="gmm", prompts=str(prompts), results=str(tmp_path))
        for text in texts
    )
    assert same_pictures(a, b)
    assert same_pictures(a, b, a.images()["item_id"].tolist()[:3])
    assert not same_pictures(a, c)
    for run in (a, b, c):
        harness.evaluate(run, ["contrast"])
    twins = harness.compare(a, b, metrics=["contrast"], out=str(tmp_path / "one")).tables
    assert twins.equal == [b.spec.run_id]
    assert any("made the very same pictures, all 8" in line for line in remarks.remarks(twins))
    others = harness.compare(a, c, metrics=["contrast"], out=str(tmp_path / "two")).tables
    assert others.equal == []
