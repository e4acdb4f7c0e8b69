"""Messages say what the thing is and what helps, and each of them once."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import harness
from harness.core.errors import HarnessError
from harness.evaluation.set_scores import _warn_few
from harness.experiments import stages
from harness.metrics.base import METRICS, ItemMetric, metric
from harness.prompts.base import load_prompts
from harness.runs import make
from harness.store.run import Run
from tests.conftest import harness as command
from tests.evaluation.test_evaluate import Spread


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two pictures."""
    (tmp_path / "p.txt").write_text("class 1\nclass 2\n")
    made = harness.generate(
        "ddim(steps=2)", model="gmm", prompts=tmp_path / "p.txt", out=tmp_path / "run"
    )
    assert isinstance(made, Run)
    return made


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics that a test registers are forgotten after it."""
    METRICS.names()
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))


def test_a_table_with_semicolons_is_told_how_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.csv").write_text("prompt;category\nclass 1, or so;a\n'class 2';b\n")
    asked = ["generate", "ddim(steps=2)", "--model", "gmm", "--dry-run", "--prompts"]
    assert command(monkeypatch, *asked, "p.csv") == 2
    said = capsys.readouterr().err
    assert "separated by ';', not by ','" in said
    advice = said.partition("--prompts '")[2].partition("'")[0]
    assert advice == "p.csv(separator=semicolon)"
    (tmp_path / "p.csv").write_text("prompt;category\nclass 1;a\nclass 2;b\n")
    assert command(monkeypatch, *asked, advice) == 0
    assert "to make: 2 images" in capsys.readouterr().out
    assert command(monkeypatch, *asked, "p.csv(separator=dot)") == 2
    assert "unknown separator 'dot': known: bar, comma, semicolon, tab" in capsys.readouterr().err
    (tmp_path / "p.json").write_text('["class 1"]')
    assert command(monkeypatch, *asked, "p.json(separator=tab)") == 2
    assert "leave out separator=tab" in capsys.readouterr().err


def test_one_column_with_semicolons_in_its_texts_is_read(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("prompt\nclass 1; class 2\n")
    assert load_prompts(str(tmp_path / "p.csv")).prompts[0].text == "class 1; class 2"


@pytest.mark.parametrize(
    ("scored", "words"),
    [
        (
            ZeroDivisionError("division by zero"),
            "wrong failed: ZeroDivisionError: division by zero",
        ),
        ([0.5], "wrong: it gave 1 results for 2 images"),
        (HarnessError("no weights"), "wrong: no weights"),
    ],
)
def test_an_error_of_a_metric_names_it(scored: Any, words: str, run: Run, registry: None) -> None:
    @metric("wrong", title="-", direction="higher", model="none", paper="-", licence="-")
    class _Wrong(ItemMetric):
        def score(self, images: torch.Tensor, rows: Sequence[Any]) -> Any:
            if isinstance(scored, Exception):
                raise scored
            return scored

    with pytest.raises(HarnessError, match=words):
        harness.evaluate(run, ["wrong"])


def test_a_metric_that_is_left_out_is_named(run: Run, registry: None) -> None:
    @metric("absent", title="-", direction="higher", model="none", paper="-", licence="-")
    class _Absent(ItemMetric):
        def check(self) -> None:
            raise HarnessError("the weights are not here")

        def score(self, images: torch.Tensor, rows: Sequence[Any]) -> Any:
            raise AssertionError

    told: list[str] = []
    harness.evaluate(run, ["contrast", "absent"], note=told.append)
    assert "  left out: absent: the weights are not here" in told
    with pytest.raises(HarnessError, match=r"^absent: the weights are not here$"):
        harness.evaluate(run, ["absent"])


def test_long_prompts_are_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    long = " ".join(["red"] * 90)
    (tmp_path / "p.txt").write_text(f"a cat\n{long} cat\n{long} small red cat\n")
    how = {
        "model": "shapes",
        "prompts": tmp_path / "p.txt",
        "out": tmp_path / "r",
    }
    with caplog.at_level(logging.WARNING):
        harness.generate("ddim(steps=1, guidance=2)", seeds="0-1", **how)
    (said,) = [one.getMessage() for one in caplog.records if "are cut" in one.getMessage()]
    assert "the ends of 2 of 3 prompts are cut; the longest has 9" in said
    assert long[:60] in said


def test_few_images_are_warned_of_once_for_all_metrics(
    run: Run, registry: None, caplog: pytest.LogCaptureFixture
) -> None:
    _warn_few.cache_clear()
    about = {"title": "-", "direction": "lower", "model": "none", "paper": "-", "licence": "-"}
    for name in ("few-a", "few-b"):
        metric(name, **about)(type(name, (Spread,), {"enough": 10_000}))  # type: ignore[arg-type]
    harness.evaluate(run, ["few-a", "few-b"])
    (said,) = [one.getMessage() for one in caplog.records if "few" in one.getMessage()]
    assert said.startswith("2 images are few for metrics of whole sets")


def test_a_folder_lost_in_other_processes_is_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out, write = tmp_path / "out", make.write_shard

    def lost(*arguments: Any) -> None:
        shutil.rmtree(out, ignore_errors=True)
        write(*arguments)

    monkeypatch.setattr(make, "write_shard", lost)
    (tmp_path / "p.txt").write_text("class 1\nclass 2\n")
    options = ["--model", "gmm", "--prompts", str(tmp_path / "p.txt"), "--seeds", "0-3"]
    asked = ["generate", "ddim(steps=3)", *options, "--out", str(out), "--workers", "2"]
    assert command(monkeypatch, *asked) == 1
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"harness: {out} was removed")
    assert not out.exists()


def test_a_folder_lost_in_a_benchs_processes_is_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*arguments: Any) -> None:
        for path in tmp_path.glob("results/*/gmm/*"):
            shutil.rmtree(path)
        raise HarnessError("harness make-shards stopped (see above)")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages, "launch", stopped)
    monkeypatch.setattr(stages, "planned_processes", lambda work, settings, most: most)
    (tmp_path / "p.txt").write_text("class 1\n")
    asked = ["bench", "heun(steps=2)", "--model", "gmm", "--bench", "shapes", "--workers", "2"]
    options = ["--prompts", "p.txt", "--seeds", "0-3", "--metrics", "contrast"]
    assert command(monkeypatch, *asked, *options) == 1
    assert "was removed" in capsys.readouterr().err.splitlines()[-1]


def test_steps_and_guidance_say_where_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.txt").write_text("class 1\n")
    gmm = ["--model", "gmm", "--prompts", "p.txt"]
    assert command(monkeypatch, "generate", "zigzag(steps=3)", *gmm) == 0
    assert "  guidance 2.0 (model gmm), steps 3 (as typed)\n" in capsys.readouterr().out
    bench = ["bench", "zigzag(guidance=2)", "--bench", "shapes", "--metrics", "contrast", "--tiny"]
    assert command(monkeypatch, *bench, *gmm, "--curve", "none", "--workers", "1") == 0
    said = capsys.readouterr().err
    assert "  guidance 2.0 (as typed), steps 4 (benchmark shapes-tiny)\n" in said
    assert "  guidance 2.0 and steps 4 (as the candidate)\n" in said
