"""The grid of every run's pictures in a survey's report."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.reporting import write_report
from harness.reporting.picture_sheet import picture_sheet
from harness.store.survey_table import load_survey
from tests.conftest import harness

BENCHMARK = (
    "title: t\nmodel: gmm\nprompts: unprompted\nseeds: 0-2\nbaseline: null\npictures: 2\nsteps: 2\n"
    "metrics: [contrast]\ncandidates: [heun, 'heun(guidance=3)', 'heun(guidance=5)']\n"
)


def test_every_run_is_a_line_and_every_image_a_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b.yaml").write_text(BENCHMARK)
    given = ["--bench", str(tmp_path / "b.yaml"), "--results", str(tmp_path / "r")]
    assert harness(monkeypatch, "bench", *given, "--workers", "1") == 0
    folder = tmp_path / "r" / "b" / "survey"
    survey = load_survey(str(folder))
    assert [(one.seed, one.item) for one in survey.pictures] == [(0, "none/0"), (1, "none/1")]
    sheet = folder / "figures" / "pictures.svg"
    assert sheet.read_text().count("data:image/png") == 3 * 2
    assert "http:" not in (folder / "index.html").read_text()
    (drawing,) = picture_sheet(survey)
    assert "A line a run" in drawing.caption
    # a run that is gone leaves its line empty, one that another lies in place of, too
    (run,) = (row.path for row in survey.rows if "guidance=3" in row.sampler)
    (Path(run) / "run.json").unlink()
    write_report(survey, str(folder))
    assert sheet.read_text().count("data:image/png") == 2 * 2


def test_a_single_candidate_has_no_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b.yaml").write_text(
        "title: t\nmodel: gmm\nprompts: unprompted\npictures: 2\nmetrics: [contrast]\n"
        "candidate: heun\n"
    )
    assert harness(monkeypatch, "bench", "--bench", str(tmp_path / "b.yaml")) == 2
