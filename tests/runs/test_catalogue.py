"""The runs below a folder, by names that people read, and the page that lists them."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness
from harness.core.errors import HarnessError
from harness.runs.catalogue import catalogue, run_name, write_catalogue
from harness.runs.plan import plan
from tests.conftest import harness as command

SMALL = {"model": "gmm", "device": "cpu", "seeds": "0-1"}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    prompts = root.parent / "classes.txt"
    prompts.write_text("class 0\nclass 1\nclass 2")
    samplers = ["ddim(steps=3)", "zigzag(steps=2, rounds=2)"]
    harness.generate(samplers, prompts=prompts, results=root / "digits", **SMALL)
    return root


def test_a_name_says_what_differs_from_the_samplers_own_settings() -> None:
    spec = plan("gmm", "zigzag(steps=2, rounds=2, guidance=3)").spec
    assert run_name(spec) == "Z-Sampling, steps 2, guidance 3.0, rounds 2"


def test_all_runs_are_found_with_what_they_hold(results: Path) -> None:
    first, second = catalogue(str(results))
    assert first.name.startswith("DDIM, steps 3")
    assert second.name.startswith("Z-Sampling, steps 2")
    assert (first.model, first.prompts, first.images) == ("gmm", "digits", 6)
    assert first.scored == []
    harness.evaluate(results / first.folder, "contrast")
    assert catalogue(str(results))[0].scored == ["contrast"]


def test_the_page_leads_to_reports(results: Path) -> None:
    ddim, zigzag = catalogue(str(results))
    harness.evaluate([results / ddim.folder, results / zigzag.folder], "contrast")
    answer = harness.compare(results / zigzag.folder, results / ddim.folder)
    answer.report()
    page = Path(write_catalogue(str(results)))
    text = page.read_text()
    assert page == results / "index.html"
    assert f'href="{zigzag.folder}/report/index.html"' in text
    assert (results / zigzag.folder / "report" / "index.html").exists()
    assert ddim.name in text


def test_the_command_lists_them(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "list", "runs", str(results)) == 0
    assert "Z-Sampling, steps 2" in capsys.readouterr().out


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="there is no run below"):
        catalogue(str(tmp_path))


def test_a_bench_brings_the_page_up_to_date(tmp_path: Path) -> None:
    answer = harness.bench(tiny=True, limit=2, curve="none", results=str(tmp_path), workers=1)
    answer.report()
    assert "Z-Sampling, steps 4" in (tmp_path / "index.html").read_text()
