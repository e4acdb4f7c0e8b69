"""The benchmarks' files: what they name exists, and the tiny cut of each can be run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.comparison.decisions import holm
from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.engine.resolve import resolve
from harness.experiments import benchmark
from harness.experiments.order import make_order
from harness.reporting.published import beside_published
from harness.reporting.survey_curves import along_curves
from harness.reporting.survey_page import SETTINGS, primaries, runs, verdicts
from harness.reporting.words import NONE
from harness.runs.plan import plan
from harness.store.comparison_tables import MetricInfo, load_comparison
from harness.store.survey_table import PublishedNumber, Row, Score, SurveyTable, load_survey
from tests.conftest import TINY_SDXL

NAMES = benchmark.names()
SURVEYS = [name for name in NAMES if benchmark.load(name).candidates]


@pytest.mark.parametrize("name", SURVEYS)
def test_candidates_and_their_published_numbers_are_known(name: str) -> None:
    found = benchmark.load(name)
    for candidate in found.candidates:
        defaults = {"steps": 20, "guidance": 2.0} | found.defaults
        resolve(parse_call(candidate.sampler), defaults)
        if candidate.published:
            assert benchmark.load_published(candidate.published).source
    if found.baseline_published:
        assert benchmark.load_published(found.baseline_published).source


@pytest.mark.parametrize("name", NAMES)
def test_what_has_a_baseline_declares_a_primary_result(name: str) -> None:
    found = benchmark.load(name)
    assert (found.primary is None) == (found.baseline is None)


@pytest.mark.parametrize("name", NAMES)
def test_tiny_cuts_are_of_embedded_models_and_possible(name: str) -> None:
    cut = benchmark.load(name, tiny=True)
    assert cut.name == f"{name}-tiny"
    for candidate in cut.candidates or [benchmark.Candidate(sampler=str(cut.candidate))]:
        model = candidate.model or cut.model
        assert model in ("shapes", "shapes-edm", "gmm")
        guide = candidate.guide or cut.guide
        assert candidate.baseline_model in (None, model)
        plan(model, candidate.sampler, defaults=cut.defaults, guide=guide)


def test_the_sweeps_cost_what_their_labels_say() -> None:
    sweeps = [f"restart-{name}" for name in ("cifar10-vp", "cifar10-edm", "cifar10-pfgmpp")]
    for name in (*sweeps, "restart-imagenet64"):
        for candidate in benchmark.load(name).candidates:
            job = plan("gmm", candidate.sampler, defaults={"guidance": 1})
            assert candidate.name.endswith(f"NFE {job.nfe}")


def _file(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(f"title: t\nmodel: gmm\nprompts: unprompted\nmetrics: [fid]\n{text}")
    return str(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "either candidate or candidates"),
        ("candidate: heun\ncandidates: [edm]\n", "either candidate or candidates"),
        ("candidate: heun\nbaseline: null\n", "needs a baseline"),
        ("candidates: [heun, heun]\n", "two candidates"),
        ("candidates: [{sampler: heun, guid: x}]\n", "guid"),
        ("candidate: heun\nprimary: {metric: clip, comparison: own}\n", "'clip' is none of fid"),
        ("candidate: heun\nprimary: {metric: fid, comparison: mine}\n", "primary: comparison"),
        (
            "candidate: heun\nprimary: {metric: fid, comparison: guidance curves}\n",
            "primary: comparison: .*did you mean 'guidance curve'",
        ),
        (
            "candidates: [heun]\nprimary: {metric: fid, comparison: guidance curve}\n",
            "give curve: weights",
        ),
        (
            "candidates: [heun]\nbaseline: null\nprimary: {metric: fid, comparison: own}\n",
            "needs a baseline",
        ),
        ("candidate: heun\nmargin: 0.6\n", "margin: Input should be less than 0.5"),
        ("candidate: heun\npopulation: category\n", "population: Input should be 'prompts' or"),
        ("candidate: heun\npopulatoin: prompts\n", "did you mean 'population'"),
        ("candidates: [heun]\ntiny: {seed: 3}\n", "did you mean 'seeds'"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        benchmark.load(_file(tmp_path, text))


def test_a_benchmark_without_a_tiny_cut_says_so(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"no tiny cut.*--limit"):
        benchmark.load(_file(tmp_path, "candidates: [heun]\n"), tiny=True)


def _bench(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["harness", "bench", *arguments, "--workers", "1"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


@pytest.mark.parametrize(
    ("limit", "noise", "words"),
    [("4", "prompt", "takes 5 or more, and there are 4"), ("9", "seed", "take noise_key=prompt")],
)
def test_categories_that_are_no_population_are_refused_before_anything_is_made(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    limit: str,
    noise: str,
    words: str,
) -> None:
    file = tmp_path / "wide.yaml"
    keys = {"model": "shapes", "prompts": "shapes", "candidate": "heun", "noise_key": noise}
    lines = [f"{key}: {value}\n" for key, value in {**keys, "population": "categories"}.items()]
    file.write_text("title: wide\nmetrics: [shapes-alignment]\n" + "".join(lines))
    chosen = ["--bench", str(file), "--limit", limit, "--results", str(tmp_path / "results")]
    assert _bench(monkeypatch, *chosen) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not list((tmp_path / "results").rglob("*.parquet"))


@pytest.mark.slow
def test_a_benchmark_of_categories_is_clustered_by_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "wide.yaml"
    file.write_text(
        "title: wide\nmodel: shapes\nprompts: shapes\nlimit: 10\nsteps: 2\ncurve: [2]\n"
        "metrics: [shapes-alignment]\ncandidate: heun\npopulation: categories\n"
    )
    assert _bench(monkeypatch, "--bench", str(file), "--results", str(tmp_path / "results")) == 0
    (stored,) = (tmp_path / "results").rglob("heun*/compare/comparison.json")
    for folder in (stored.parent.parent, stored.parent.parent / "curve"):
        found = load_comparison(str(folder))
        assert found.population == "categories"
        row = next(iter(found.results))
        assert (row.p_method, row.clustered.n) == ("score test over categories", 5)
        assert row.winning_rate.low == row.clustered.low
    page = (stored.parent.parent / "report.md").read_text()
    assert "speak of categories like these 5, a sample of others" in page


def test_a_sweep_without_pairs_ends_in_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ["--bench", "restart-cifar10-vp", "--tiny", "--results", str(tmp_path)]
    assert _bench(monkeypatch, *chosen) == 0
    survey = load_survey(str(tmp_path / "restart-cifar10-vp-tiny" / "survey"))
    rival = [9, 18, 27, 36, 54, 72]
    assert [row.nfe for row in survey.rows] == [35, 43, 55, 75, 115, 519, *rival]
    assert [row.images for row in survey.rows] == [4] * 12
    assert [row.series for row in survey.rows].count("DPM-Solver++ 3S") == 6
    assert survey.headline is None
    assert all(row.scores["contrast"].n == 4 for row in survey.rows)
    report = (tmp_path / "restart-cifar10-vp-tiny" / "survey" / "report.md").read_text()
    assert (
        f"| Restart, NFE 43 | fid | 2.7 | {NONE} | 50,000, {NONE} | 43, 43 | {NONE} | Xu" in report
    )


@pytest.mark.slow
def test_candidates_are_each_compared_with_the_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ["--bench", "zsampling-pickapic", "--tiny", "--results", str(tmp_path)]
    assert _bench(monkeypatch, *chosen) == 0
    folder = tmp_path / "zsampling-pickapic-tiny" / "survey"
    survey = load_survey(str(folder))
    assert [row.baseline for row in survey.rows] == [True, False, False]
    settings = {rate.setting for row in survey.rows[1:] for rate in row.rates}
    assert settings == {"own", "matched cost", "matched cost and guidance"}
    assert survey.headline == "shapes-alignment"
    assert len(runs(survey).groups[0].rows) == 3
    assert any("own settings" in line for line in verdicts(survey))
    declared = [rate for row in survey.rows for rate in row.rates if rate.role == "primary"]
    assert {(rate.setting, rate.metric) for rate in declared} == {
        ("matched cost", "shapes-alignment")
    }
    assert [rate.p_holm for rate in declared] == holm([rate.p_value for rate in declared])
    assert len(primaries(survey).groups[0].rows) == len(declared) == 2
    monkeypatch.setattr(sys, "argv", ["harness", "report", str(folder)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code


NFE_OF = {f"restart-cifar10-vp-{nfe}": nfe for nfe in (43, 55, 75, 115, 519)}


def test_published_numbers_of_the_restart_paper_state_what_their_runs_cost() -> None:
    for name, nfe in NFE_OF.items():
        found = benchmark.load_published(name)
        assert (found.n, found.nfe) == (50_000, nfe)
        assert "pytorch-fid" in str(found.differs)


@pytest.mark.parametrize(
    ("stated", "n", "said"),
    [
        ({"n": 50, "nfe": 35}, 50, "yes"),
        ({"n": None, "nfe": 35}, 50, "unknown: images not stated"),
        ({}, 50, "unknown: images and NFE not stated"),
        ({"n": 50, "nfe": 35}, 4, "not comparable: 50 against 4 images"),
        ({"n": 50, "nfe": 36}, 50, "not comparable: 36 against 35 NFE"),
        (
            {"n": None, "nfe": 36, "differs": "the minimum of three"},
            50,
            "not comparable: the minimum of three; 36 against 35 NFE",
        ),
        ({"n": 50, "nfe": 35}, None, NONE),
    ],
)
def test_what_stands_against_a_comparison_with_a_published_number(
    stated: dict[str, Any], n: int | None, said: str
) -> None:
    score = Score(None if n is None else 2.0, None, None, n or 0, "no interval")
    published = [PublishedNumber("fid", 1.9, False, "a paper", **stated)]
    row = Row(
        "Heun", "heun", "m", None, "p", False, 35.0, 50, 0, {"fid": score}, published=published
    )
    survey = SurveyTable("s", "t", [MetricInfo("fid", "lower")], None, [row], [], [])
    table = beside_published(survey)
    assert table is not None
    (cells,) = table.groups[0].rows
    assert cells[table.columns.index("comparable")] == said
    narrow = [column for column in table.columns if column not in table.wide]
    assert narrow == ["run", "number", "published", "ours", "comparable"]


@pytest.mark.parametrize("declared", [None, "matched guidance"])
def test_equal_guidance_alone_is_compared_without_a_curve_where_it_decides(
    declared: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary = f"primary: {{metric: contrast, comparison: {declared}}}" if declared else ""
    prompts, path = tmp_path / "p.txt", tmp_path / "one.yaml"
    prompts.write_text("class 1\nclass 2\n")
    path.write_text(
        f"title: t\nmodel: gmm\nprompts: {prompts}\nmetrics: [contrast]\ncandidates: [zigzag]\n"
        f"steps: 3\nguidance: 3\n{primary}"
    )
    assert _bench(monkeypatch, "--bench", str(path), "--results", str(tmp_path / "r")) == 0
    (folder,) = (tmp_path / "r").glob("*/survey")
    rates = load_survey(str(folder)).rows[1].rates
    unasked = {"guidance curve"} if declared else {"guidance curve", "matched guidance"}
    shown = [setting for setting in SETTINGS if setting not in unasked]
    assert [rate.setting for rate in rates] == shown
    assert [rate.setting for rate in rates if rate.role == "primary"] == [declared] * bool(declared)


def test_the_declared_guidance_curve_decides_a_survey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, path = tmp_path / "p.txt", tmp_path / "one.yaml"
    prompts.write_text("class 1\nclass 2\nclass 3\n")
    path.write_text(
        f"title: t\nmodel: gmm\nprompts: {prompts}\nmetrics: [contrast]\ncandidates: [zigzag, "
        "heun]\nsteps: 3\nguidance: 3\ncurve: [1, 4]\nseeds: 0-1\n"
        "primary: {metric: contrast, comparison: guidance curve}\n"
    )
    given = ["--bench", str(path), "--results", str(tmp_path / "r")]
    assert _bench(monkeypatch, *given, "--seeds", "0") == 0
    (folder,) = (tmp_path / "r").glob("*/survey")
    survey = load_survey(str(folder))
    for row in survey.rows[1:]:
        (rate,) = [rate for rate in row.rates if rate.role == "primary"]
        assert rate.setting == "guidance curve"
        assert rate.p_holm is not None
        assert rate.look is not None
        assert (rate.look.number, rate.look.images, rate.look.planned) == (1, 3, 6)
        (rule,) = row.curve_rules
        assert rule.crossed
        assert set(rule.against) <= {"guidance 1", "guidance 4"}
    text = (folder / "report.md").read_text()
    assert "Against the best guidance of the baseline at equal cost, on " in text
    assert "first look at 3 of 6 images declared: p &lt; 0.0031 decides" in text
    table = primaries(survey)
    assert table is not None
    assert "first look at 3 of 6 images declared" in table.groups[0].rows[0][1]
    assert _bench(monkeypatch, *given, "--seeds", "0", "--curve", "none") == 0
    text = (folder / "report.md").read_text()
    assert "not compared against the best guidance of the baseline at equal cost: no" in text


def test_what_a_benchmark_plans_is_its_prompts_by_its_seeds(tmp_path: Path) -> None:
    def planned(**given: Any) -> int | None:
        return make_order(None, bench="fair-shapes", **given).planned

    assert planned() == planned(limit=3, seeds="0") == 600
    assert planned(split="dev") == 2 * 81  # all that there are
    assert planned(tiny=True) == 4
    (tmp_path / "p.txt").write_text("a red circle\n")
    assert planned(prompts=str(tmp_path / "p.txt")) is None
    assert make_order(None, bench="restart-shapes").planned is None


def test_with_a_curve_each_candidate_meets_its_own_baseline_and_gets_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(
        "{title: t, model: shapes, prompts: shapes, limit: 3, steps: 3, guidance: 3, dtype: "
        "bfloat16, curve: [1, 4], metrics: [contrast], candidates: [{sampler: zigzag, label: same "
        "names!}, {sampler: 'heun(interval=[0.5, 5])', baseline: heun, label: 'Same names?'}]}"
    )
    assert _bench(monkeypatch, "--bench", str(path), "--results", str(tmp_path / "r")) == 0
    folder = tmp_path / "r" / "two" / "survey"
    survey = load_survey(str(folder))
    assert [row.label for row in survey.rows if row.baseline] == [
        "baseline ddim (3 steps)",
        "baseline heun (3 steps)",
    ]
    for row, baseline in zip(survey.rows[2:], ("ddim", "heun"), strict=True):
        assert {rate.setting for rate in row.rates} == set(SETTINGS)
        assert [point.weight for point in row.curve] == [1, 4]
        assert all(parse_call(point.sampler).name == baseline for point in row.curve)
        assert row.guidance is not None  # of an interval, too: from the baseline's evaluations
        assert '"bfloat16"' in (Path(row.path) / "run.json").read_text()
        assert (folder / str(row.folder) / "report" / "index.html").exists()
    report = (folder / "report.md").read_text()
    assert "(1-same-names/report.md)" in report
    assert "(2-same-names/report.md)" in report
    assert len(along_curves(survey).groups[0].rows) == 2
    found = [row.rate("guidance curve", survey.headline) for row in survey.rows[-2:]]
    assert all(
        rate is not None and rate.verdict in ("wins", "loses", "undecided") for rate in found
    )
    page = (folder / "index.html").read_text()
    assert 'href="1-same-names/report/index.html"' in page
    assert page.count("scale at each candidate") == 1


def test_a_candidate_meets_the_baseline_on_a_model_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W2SD by a LoRA against DDIM with the LoRA, and that against plain DDIM, in one table."""
    lora = TINY_SDXL.parent / "lora" / "tiny_unet.safetensors"
    strong = f"{TINY_SDXL}(lora={lora}, lora_scale=0.8)"
    w2sd = f"w2sd(lora={lora}, strong_scale=0.8, weak_scale=-1.5, scale=0.8)"
    plain = f"w2sd(lora={lora}, strong_scale=0.8, weak_scale=-1.5, scale=0.8, zigzag_steps=0)"
    prompts, path = tmp_path / "p.txt", tmp_path / "loras.yaml"
    prompts.write_text("a red circle\n")
    candidates = [
        {"sampler": "ddim(eta=0.5)", "label": "plain"},
        {"sampler": "ddim", "label": "strong", "model": strong, "baseline_model": str(TINY_SDXL)},
        {"sampler": w2sd, "label": "by LoRA", "baseline_model": strong},
        {"sampler": plain, "label": "no reflection", "baseline_model": strong},
    ]
    about = {"title": "t", "model": str(TINY_SDXL), "prompts": str(prompts), "steps": 3}
    about |= {"guidance": 3.0, "metrics": ["contrast"], "candidates": candidates, "curve": []}
    path.write_text(json.dumps({**about, "baseline_published": "w2sd-sdxl"}))
    asked = ["--bench", str(path), "--results", str(tmp_path / "r"), "--size", "64"]
    assert _bench(monkeypatch, *asked) == 0
    (folder,) = (tmp_path / "r").glob("*/survey")
    survey = load_survey(str(folder))
    weak, best = survey.rows[:2]
    assert [weak.model, best.model] == ["model", f"model(lora={lora}, lora_scale=0.8)"]
    assert best.label == f"baseline ddim (3 steps) on {best.model}"
    rows = {row.label: row for row in survey.rows[2:]}
    assert rows["strong"].path == best.path
    assert [len(row.published) for row in survey.rows[:3]] == [4, 0, 0]
    values = {label: row.scores["contrast"].value for label, row in rows.items()}
    assert values["no reflection"] == pytest.approx(values["strong"], abs=1e-4)
    assert values["by LoRA"] != pytest.approx(values["strong"], abs=1e-3)
    assert values["strong"] != pytest.approx(weak.scores["contrast"].value, abs=1e-3)
