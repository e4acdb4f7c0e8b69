"""Ablations: each change is a row, against the sampler as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.store.run import Run
from harness.store.survey_table import load_survey
from tests.conftest import harness


def test_each_change_is_compared_with_the_base_on_the_same_noise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "p.txt").write_text("".join(f"class {i}\n" for i in range(9)))
    command = ["ablate", "zigzag(steps=4)", "--change", "guidance=1", "--change", "steps=6"]
    command += ["--change", "inversion_guidance=1, rounds=2", "--model", "gmm", "--workers", "1"]
    command += ["--prompts", str(tmp_path / "p.txt"), "--metrics", "contrast,saturation"]
    assert harness(monkeypatch, *command, "--results", str(tmp_path), "--verbose") == 0
    assert "Mean differences from the baseline" in capsys.readouterr().out
    (folder,) = (tmp_path / "p").glob("ablation-*")
    survey = load_survey(str(folder))
    base, *changed = survey.rows
    assert base.baseline
    labels = ["guidance=1", "steps=6", "inversion_guidance=1, rounds=2"]
    assert [row.label for row in changed] == labels
    own = Run.open(base.path)
    for row in changed:
        params, before = Run.open(row.path).spec.sampler.params, own.spec.sampler.params
        different = {name for name in params if params[name] != before.get(name)}
        assert different == {part.partition("=")[0] for part in row.label.split(", ")}
        rate = row.rate("own", "contrast")
        assert rate is not None
        assert rate.pairs == 9
        assert (rate.nfe, rate.role) == (base.nfe, "exploratory")
        scores = [run.frame("scores/contrast")["value"] for run in (Run.open(row.path), own)]
        assert rate.difference == pytest.approx(np.mean(scores[0] - scores[1]))
        assert rate.difference_low < rate.difference < rate.difference_high
    assert "is the candidate itself" in changed[1].absent["matched cost"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("rounds", "cannot read --change 'rounds'"),
        ("round=2", "did you mean 'rounds'"),
        ("rounds=1", "compared with itself"),
        ("rounds=x", "rounds='x'"),
    ],
)
def test_a_mistake_is_one_line(
    change: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["ablate", "zigzag(steps=4)", "--change", change, "--model", "gmm"]
    assert harness(monkeypatch, *command) == 2
    assert words in capsys.readouterr().err
