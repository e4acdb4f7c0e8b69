"""Tuning: as many trials for both, chosen on one split, compared on the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.prompts.split import split_of
from harness.store.comparison_tables import load_comparison
from harness.store.survey_table import load_survey
from tests.conftest import harness


def _common(folder: Path) -> list[str]:
    rows = "".join(f"p{i},class {i}\n" for i in range(10))
    (folder / "p.csv").write_text("id,prompt\n" + rows)
    common = ["--model", "gmm", "--prompts", str(folder / "p.csv"), "--metrics", "contrast"]
    return [*common, "--results", str(folder), "--workers", "1"]


def test_both_are_tuned_alike_on_prompts_that_do_not_decide(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ["tune", "heun(steps=3)", "--vary", "guidance=1,2,4", "--curve", "none"]
    assert harness(monkeypatch, *command, *_common(tmp_path)) == 0
    said = capsys.readouterr()
    sweeps = [load_survey(str(path.parent)) for path in tmp_path.rglob("sweep-*/survey.json")]
    names = {parse.rows[0].sampler.partition("(")[0]: parse for parse in sweeps}
    assert set(names) == {"heun", "ddim"}
    (folder,) = [path.parent for path in tmp_path.rglob("compare")]
    comparison = load_comparison(str(folder))
    for role, name in (("candidate", "heun"), ("own", "ddim")):
        rows = names[name].rows
        assert [row.point["guidance"] for row in rows] == [1, 2, 4]
        assert all("steps=3" in row.sampler for row in rows)
        top = max(rows, key=lambda row: row.scores["contrast"].value or 0)
        assert str(comparison.runs[role].sampler) == top.sampler
        assert f"best of 3 on the dev split: {top.sampler}" in said.out
    tested = set(comparison.pairs["prompt_id"])
    assert tested == {f"p{i}" for i in range(10) if split_of(f"p{i}") == "test"}
    assert all(row.images == 10 - len(tested) for one in sweeps for row in one.rows)
    assert "warning: the test split" not in said.err
    command[3] = "guidance=1,8,2"
    assert harness(monkeypatch, *command, *_common(tmp_path)) == 0
    once = capsys.readouterr().err.replace("\n", " ")
    assert "the test split was used for 1 other choice" in once


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--baseline-vary", "guidance=1,2"], "3 trials for the candidate and 2 for the baseline"),
        (["--baseline-vary", "eta=0,0.5,2"], "Both sides need all their trials"),
        (["--baseline-vary", "etaa=0,0.5,1"], "did you mean 'eta'"),
    ],
)
def test_unequal_trials_are_refused(
    more: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    command = ["tune", "heun(steps=2)", "--vary", "guidance=1,2,4", *more, *_common(tmp_path)]
    assert harness(monkeypatch, *command) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.rglob("tuned"))
