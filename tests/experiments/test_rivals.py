"""The best of several pictures of the baseline in benchmarks, and of a run in `compare`."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness
from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.experiments import benchmark
from harness.experiments.rivals import make_verifier, usable_verifier
from harness.metrics.base import METRICS, ItemMetric, make_metric, make_metrics
from harness.store.comparison_tables import BEST_OF
from harness.store.run import Run
from tests.conftest import harness as run_harness

DECLARED = [name for name in benchmark.names() if benchmark.load(name).best_of]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.txt").write_text("class 1\nclass 2\nclass 3\n")


def _file(text: str) -> str:
    Path("mine.yaml").write_text(
        "title: t\nmodel: gmm\nprompts: p.txt\nseeds: 0-4\nsteps: 2\nguidance: 2\n"
        f"best_of: {{verifier: saturation}}\n{text}"
    )
    return "mine.yaml"


def test_fair_shapes_declares_a_verifier_and_every_verifier_may_choose() -> None:
    assert "fair-shapes" in DECLARED
    for name in DECLARED:
        found = benchmark.load(name)
        assert found.best_of is not None
        known = [m for m in found.metrics if m.partition("(")[0] in METRICS]
        make_verifier(found.best_of.verifier, make_metrics(known))


def test_a_bench_compares_with_the_best_of_the_baseline() -> None:
    """Zigzag costs 7 evaluations of 3 denoisings and more; ddim in two steps 4."""
    bench = _file("candidate: zigzag(steps=4)\nbaseline: ddim(steps=2)\nmetrics: [contrast]\n")
    found = harness.bench(bench=bench, curve="none", workers=1, note=lambda text: None).tables
    ours, own, best = (found.runs[role] for role in ("candidate", "own", BEST_OF))
    assert ours.cost.nfe is not None
    assert own.cost.nfe is not None
    assert best.choice is not None
    n = best.choice.n
    assert n == ours.cost.nfe // own.cost.nfe >= 2
    assert (best.cost.nfe, best.run_id) == (n * own.cost.nfe, own.run_id)
    assert (best.choice.verifier, best.choice.macs, best.choice.reason) == ("saturation", 0.0, None)
    assert found.rate(BEST_OF, "contrast").pairs == 3 * 5 * (5 // n)
    assert {row.metric for row in found.results} == {"contrast"}  # the verifier is no judge


def test_a_survey_has_a_column_for_it_and_says_where_no_run_is_cheap_enough() -> None:
    bench = _file(
        "metrics: [contrast]\ncandidates:\n"
        "  - {sampler: zigzag(steps=4), label: dear, baseline: ddim(steps=2)}\n"
        "  - {sampler: heun, label: cheap}\n"
    )
    found = harness.survey(bench=bench, workers=1, note=lambda text: None)
    rows = {row.label: row for row in found.tables.rows}
    rate = rows["dear"].rate(BEST_OF, "contrast")
    assert rate is not None
    assert (rate.tries, found.tables.verifier) == (rate.nfe // 4, "saturation")
    assert (rate.pairs, rate.role) == (3 * 5 * (5 // rate.tries), "exploratory")
    assert rate.decided == 1.0
    assert rows["cheap"].rate(BEST_OF, "contrast") is None
    assert "less than two" in rows["cheap"].absent[BEST_OF]
    folder = found.report().parent
    for text in ((folder / "report.md").read_text(), (folder / "index.html").read_text()):
        assert "best of N" in text
        assert "Against the best of N pictures of the baseline" in text
        assert "cheap not compared against the best of N" in text


def test_a_verifier_that_cannot_choose_is_absent_with_the_reason() -> None:
    bench = _file("candidate: zigzag(steps=4)\nbaseline: ddim(steps=2)\nmetrics: [saturation]\n")
    found = harness.bench(bench=bench, curve="none", workers=1, note=lambda text: None).tables
    assert "saturation is the verifier itself" in found.absent[BEST_OF]
    judges = [make_metric("contrast")]
    assert "no metric satiation" in str(usable_verifier(parse_call("satiation"), judges))
    assert isinstance(usable_verifier(parse_call("saturation"), judges), ItemMetric)


def test_a_benchmark_without_a_verifier_is_a_mistake() -> None:
    Path("mine.yaml").write_text(
        "title: t\nmodel: gmm\nprompts: p.txt\ncandidate: heun\nmetrics: [contrast]\n"
        "best_of: {N: 2}\n"
    )
    with pytest.raises(HarnessError, match="best_of: "):
        benchmark.load("mine.yaml")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "p.txt").write_text("class 1\nclass 2\nclass 3\n")
    texts = ["zigzag(steps=4, guidance=2)", "ddim(steps=2, guidance=2)"]
    made = harness.generate(
        texts, model="gmm", prompts=folder / "p.txt", seeds="0-4", results=folder
    )
    assert isinstance(made, list)
    harness.evaluate(made, "contrast,saturation")
    return made[0], made[1]


def test_two_runs_that_exist(runs: tuple[Run, Run]) -> None:
    found = harness.compare(*runs, metrics="contrast", best_of=runs[1], verifier="saturation")
    row = found.tables.rate(BEST_OF, "contrast")
    assert row.pairs
    assert row.winning_rate.ends
    fair = harness.compare(
        *runs,
        metrics="contrast",
        best_of=runs[1],
        verifier="saturation",
        fair=True,
        curve="none",
        workers=1,
    )
    assert fair.tables.rate(BEST_OF, "contrast") == row


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--best-of", "B"], "give both"),
        (["--verifier", "contrast"], "give both"),
        (["--best-of", "B", "--verifier", "contrst"], "did you mean 'contrast'"),
        (["--best-of", "B", "--verifier", "contrast"], "contrast is the verifier itself"),
        (["--best-of", "B", "--verifier", "shapes-fd"], "that scores single images"),
        (["--best-of", "B", "--verifier", "shapes-diversity"], "that scores single images"),
        (["--best-of", "B", "--verifier", "shapes-clip"], "evaluate it first"),
        (["--best-of", "A", "--verifier", "saturation", "--fair"], "name the same run"),
        (["--best-of", "B", "--verifier", "saturation", "--matrix"], "without --matrix"),
    ],
)
def test_wrong_requests_are_one_message(
    options: list[str],
    words: str,
    runs: tuple[Run, Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = dict(zip("AB", (run.path for run in runs), strict=True))
    told = [paths.get(option, option) for option in options]
    command = ["compare", *paths.values(), "--metrics", "contrast", *told]
    assert run_harness(monkeypatch, *command) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_one_network_does_not_choose_for_itself() -> None:
    with pytest.raises(HarnessError, match=r"hpsv2\.1 has the network of the verifier hpsv2"):
        make_verifier("hpsv2", make_metrics(["hpsv2.1", "clip"]))
    assert make_verifier("hpsv2", make_metrics(["shapes-fd", "clip", "hpsv2.1"])).name == "hpsv2"
