"""Tables for papers."""

from __future__ import annotations

import pandas as pd
import pytest

from harness.comparison import ComparisonTables, MetricInfo, RunScore, compare
from harness.core.call import Call
from harness.reporting import write_report
from harness.reporting.latex import latex_tables
from tests.comparison.synthetic_runs import Item, make_run

GOOD = MetricInfo("good", "higher", "Goodness")
FD = MetricInfo("fd", "lower", "Frechet distance")
EVIL = Call("my_sampler", {"note": "50% & {a} ~ #1 $x^2$ \\input{x}"})


def items(shift: float, seeds: int = 2) -> list[Item]:
    return [
        Item(f"p{i}", seed, {"good": 0.1 * (i % 7) + 0.01 * ((i * 7 + seed * 3) % 5) + shift})
        for seed in range(seeds)
        for i in range(20)
    ]


@pytest.fixture
def comparison(tmp_path) -> ComparisonTables:
    """The candidate far above one baseline, and not told apart from another."""
    run = make_run(str(tmp_path / "a"), items(0.5), EVIL)
    alike = [
        Item(item.prompt_id, item.seed, {"good": item.scores["good"] + (-1) ** at * 0.01 - 1e-4})
        for at, item in enumerate(items(0.5))
    ]
    baselines = {
        "own": make_run(str(tmp_path / "b"), items(0.0)),
        "matched cost": make_run(str(tmp_path / "c"), alike, Call("ddim", {"steps": 40})),
    }
    scores = [RunScore(role, FD, 3.0, 40, 2.0, 4.0) for role in ("candidate", *baselines)]
    return compare(run, baselines, [GOOD], str(tmp_path / "a"), scores)


def rows(text: str) -> list[list[str]]:
    body = text.split("\\midrule")[1].split("\\bottomrule")[0]
    lines = list(body.strip().split("\\\\\n"))
    return [[cell.strip() for cell in line.rstrip("\\ ").split(" & ")] for line in lines]


def test_the_best_is_bold_and_what_is_not_told_apart_underlined(comparison):
    text = latex_tables(comparison)["scores.tex"]
    plain = text.replace("\\&", "and")
    best, own, alike = (line[4] for line in rows(plain))
    assert best.startswith("\\textbf{0.8")
    assert alike.startswith("\\underline{0.8")
    assert own.startswith("0.3")
    assert "\\toprule" in text
    assert "standard errors over prompts (SE)" in text
    assert "SD: standard deviation of the 2 seeds' means" in text
    assert rows(plain)[0][6] == "3.000 [2.000, 4.000]"


def test_what_a_sampler_is_called_is_text(comparison):
    for text in latex_tables(comparison).values():
        assert "\\input" not in text
        assert "50% " not in text


def test_errors_and_deviations_are_those_of_their_definitions(comparison):
    """SE over prompt means, SD over seed means, worked out by hand with pandas."""
    row = comparison.summary.iloc[0]
    frame = pd.DataFrame(
        [{"p": i.prompt_id, "s": i.seed, "v": i.scores["good"]} for i in items(0.5)]
    )
    by_prompt, by_seed = (frame.groupby(key)["v"].mean() for key in ("p", "s"))
    assert row["se"] == pytest.approx(by_prompt.std() / 20**0.5, rel=1e-12)
    assert row["seed_sd"] == pytest.approx(by_seed.std(), rel=1e-12)
    assert comparison.summary["standing"].fillna("").tolist() == ["best", "", "tied"]


def test_one_seed_has_no_deviation(tmp_path):
    run, own = (make_run(str(tmp_path / n), items(s, 1), Call(n)) for n, s in (("a", 0), ("b", 1)))
    found = compare(run, {"own": own}, [GOOD], str(tmp_path / "a"))
    assert found.summary["seed_sd"].isna().all()
    assert "SD" not in latex_tables(found)["scores.tex"]


def test_tables_are_written_with_all_digits(comparison, tmp_path):
    write_report(comparison, str(tmp_path / "a"))
    folder = tmp_path / "a/report/tables"
    read = pd.read_csv(folder / "winning_rates.csv")
    assert read["winning_rate"].tolist() == comparison.rates["winning_rate"].tolist()
    assert read["low"].tolist() == comparison.rates["low"].tolist()
    names = {"scores.csv", "scores.tex", "set_scores.csv", "winning_rates.csv", "winning_rates.tex"}
    assert {path.name for path in folder.iterdir()} == names
