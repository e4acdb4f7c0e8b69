"""Pictures that fail are told at once, with the likely cause and the way out."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

import harness
from harness.core.errors import NothingMade
from harness.runs.failures import failures, told
from harness.runs.plan import plan
from tests.conftest import harness as command

ARGUMENTS = {"model": "gmm", "device": "cpu"}


def _spoil(monkeypatch: pytest.MonkeyPatch, rows: slice) -> None:
    from harness.models.gmm import GaussianMixture

    true = GaussianMixture.denoised

    def denoised(*args: torch.Tensor) -> torch.Tensor:
        estimate = true(*args).clone()
        estimate[rows] = torch.nan
        return estimate

    monkeypatch.setattr(GaussianMixture, "denoised", denoised)


def test_a_picture_fails_by_its_latents_or_its_one_colour() -> None:
    native = torch.zeros(3, 4, 2, 2)
    native[0, 1] = torch.inf
    pixels = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    pixels[2, 0, 0, 0] = 1
    assert failures(native, pixels) == ["not finite", "blank", None]


def test_the_cause_depends_on_the_precision() -> None:
    spec = plan("gmm", "ddim(steps=2)").spec
    assert told([None, None], spec) is None
    said = told(["not finite", None, "not finite", "blank"], spec)
    assert said is not None
    assert said.startswith("3 of 4 pictures of ddim(steps=2")
    assert "(2 not finite, 1 blank): the sampler diverges" in said


def test_some_that_fail_are_a_warning_and_all_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    classes = tmp_path / "classes.txt"
    classes.write_text("class 0\nclass 1")
    _spoil(monkeypatch, slice(1, 2))
    with caplog.at_level(logging.WARNING):
        harness.generate("ddim(steps=2)", prompts=classes, out=tmp_path / "some", **ARGUMENTS)
        pictures = harness.sample("ddim(steps=2)", prompt=["class 0", "class 1"], **ARGUMENTS)
    assert len(pictures) == 2
    assert [record.message.partition(" of ")[0] for record in caplog.records] == ["1", "1"]
    _spoil(monkeypatch, slice(None))
    with pytest.raises(NothingMade, match=r"every picture of .*all failed"):
        harness.generate("ddim(steps=2)", prompts=classes, out=tmp_path / "all", **ARGUMENTS)
    with pytest.raises(NothingMade, match="1 of 1 pictures"):
        harness.sample("ddim(steps=2)", prompt="class 0", **ARGUMENTS)


def test_the_command_ends_with_1_if_all_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _spoil(monkeypatch, slice(None))
    asked = ["sample", "ddim(steps=2)", "--model", "gmm", "--prompt", "class 0"]
    assert command(monkeypatch, *asked, "--out", str(tmp_path)) == 1
    assert "1 not finite" in capsys.readouterr().err
