"""What the pages say of results, benchmarks and speed is what the tables and files say."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from harness.engine.policies.base import POLICIES
from harness.experiments import benchmark
from harness.metrics.base import METRICS
from harness.store.survey_table import Row, load_survey
from tests.docs.pages import PAGES, ROOT, blocks, text_of

PUBLISHED = ROOT / "results" / "published"


def rows_of(page: str, first: str) -> list[list[str]]:
    """The cells of the table of a page whose head begins with `first`, its head included."""
    text = text_of(page).partition(f"| {first} |")[2]
    lines = f"| {first} |{text}".partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def alignment(row: Row) -> dict[str, str]:
    return {r.setting: r.verdict for r in row.rates if r.metric == "shapes-alignment"}


def test_the_verdicts_are_the_published_ones() -> None:
    head, _, *told = rows_of("docs/results.md", "candidate")
    survey = load_survey(str(PUBLISHED / "fair-shapes"))
    found = [row for row in survey.rows if not row.baseline]
    assert [row.label for row in found] == [cells[0] for cells in told]
    for row, cells in zip(found, told, strict=True):
        verdicts = alignment(row)
        assert [verdicts.get(setting, "") for setting in head[1:]] == cells[1:], row.label


def test_the_sentences_on_them_are_true() -> None:
    rows = {r.label: r for r in load_survey(str(PUBLISHED / "fair-shapes")).rows}
    zigzag = rows["Z-Sampling vs DPM++ 2M"]
    assert (zigzag.nfe, rows["baseline dpmpp_2m (10 steps)"].nfe, zigzag.images) == (47, 20, 600)
    assert zigzag.guidance is not None
    assert f"about {zigzag.guidance:.1f}" in text_of("docs/results.md")
    interval = rows["DDIM with interval vs DDIM"].set_gaps
    assert {gap.setting: gap.verdict for gap in interval}["own"] == "worse"
    own = [rate for row in rows.values() for rate in row.rates if rate.setting == "own"]
    shares = [rate.decided for rate in own if rate.metric == "shapes-alignment"]
    assert all(share is not None and share < 0.5 for share in shares)


def test_no_sampler_wins_the_declared_comparison_with_ddim() -> None:
    survey = load_survey(str(PUBLISHED / "samplers-shapes"))
    primary = [
        (row.label, r.verdict) for row in survey.rows for r in row.rates if r.role == "primary"
    ]
    assert {verdict for _, verdict in primary} == {"loses", "undecided"}
    assert [label for label, verdict in primary if verdict == "loses"] == ["DDIM, APG"]
    ancestral = {
        row.label: {name: (s.value, s.low, s.high) for name, s in row.scores.items()}
        for row in survey.rows
    }
    assert ancestral["Euler ancestral"] == ancestral["DDPM (DDIM, eta 1)"]
    rivals = benchmark.load("samplers-shapes")
    assert (rivals.steps, rivals.limit) == (20, 120)


def test_the_gpus_ratios_are_the_published_ones() -> None:
    published = (PUBLISHED / "speed" / "README.md").read_text()
    cells = [row[2] for row in rows_of("docs/speed.md", "script") if "generate" in row[0]]
    ratios = re.findall(r"\d\.\d{3}", " ".join(cells))
    assert len(ratios) == 8
    assert [ratio for ratio in ratios if ratio not in published] == []


@pytest.mark.parametrize("script", re.findall(r"benchmarks\.perf\.(\w+)", text_of("docs/speed.md")))
def test_the_scripts_exist(script: str) -> None:
    assert (ROOT / "benchmarks" / "perf" / f"{script}.py").is_file()


def test_every_benchmark_and_metric_has_its_place() -> None:
    names = re.findall(
        r"`([\w*-]+)`", " ".join(row[0] for row in rows_of("docs/papers-tables.md", "benchmark"))
    )
    assert [b for b in benchmark.names() if not any(fnmatch(b, name) for name in names)] == []
    metrics = set(re.findall(r"`([\w.-]+)", text_of("docs/metrics.md")))
    assert set(METRICS.names()) - metrics - {"fd"} == set()


def test_a_benchmark_of_ones_own_is_one(tmp_path: Path) -> None:
    found = [block for page in PAGES for block in blocks(page, "yaml") if "title:" in block.code]
    assert found
    for block in found:
        (tmp_path / "mine.yaml").write_text(block.code)
        benchmark.load(str(tmp_path / "mine.yaml"))
        benchmark.load(str(tmp_path / "mine.yaml"), tiny="tiny:" in block.code)


def test_the_keys_of_a_benchmark_are_explained() -> None:
    told = " ".join(row[0] for row in rows_of("docs/papers-tables.md", "key"))
    plain = {"name", "title", "description", "model", "prompts", "seeds", "baseline", "metrics"}
    assert set(benchmark.Benchmark.model_fields) - plain <= set(re.findall(r"`(\w+)`", told))


def test_policies_parameters_are_told_to_samplers() -> None:
    """But for those of "like", which --match-guidance sets."""
    pages = " ".join(map(text_of, ("docs/own-sampler.md", "docs/solvers.md", "docs/models.md")))
    silent = [e.name for _, e in POLICIES if not any(name in pages for name in e.parameters)]
    assert silent == ["like"]


def test_the_reports_picture_has_the_parts_that_are_told() -> None:
    from docs.pictures.annotate_report import PARTS, PICTURE

    told = [(row[0], row[1]) for row in rows_of("docs/reading-a-report.md", "| part")[2:]]
    assert told == [(str(number), part) for number, part in enumerate(PARTS, 1)]
    assert PICTURE.is_file()
