"""Sweeps: the grid that is written, the runs that are reused, the front that is marked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.experiments.pareto import dominators, front_shares, with_fronts
from harness.experiments.varying import expand, parse_vary, series_of
from harness.store.survey_table import Row, Score, load_survey
from tests.conftest import harness


def test_values_are_read_as_a_samplers_are() -> None:
    found = parse_vary(["guidance=1,2.5", "inversion=exact,released", "interval=[0.1,2],[1, 2]"])
    assert found == {
        "guidance": [1, 2.5],
        "inversion": ["exact", "released"],
        "interval": [[0.1, 2], [1, 2]],
    }


@pytest.mark.parametrize("texts", [["guidance"], ["2=3"], ["a=1", "a=2"], ["a="], ["a[x]=1"]])
def test_what_cannot_be_varied_is_said(texts: list[str]) -> None:
    with pytest.raises(HarnessError, match="vary"):
        parse_vary(texts)


def test_a_grid_holds_every_combination_and_sets_entries_of_lists() -> None:
    call = parse_call("ddim(guidance=3, interval=[0.1, 5])")
    grid = expand(call, {"steps": [5, 10], "interval[1]": [2, 4]})
    assert [str(one) for _, one in grid] == [
        f"ddim(guidance=3, interval=[0.1, {high}], steps={steps})"
        for steps in (5, 10)
        for high in (2, 4)
    ]
    (_, both), *_ = expand(parse_call("ddim"), {"interval[0]": [1], "interval[1]": [2]})
    assert both.params == {"interval": [1, 2]}
    with pytest.raises(HarnessError, match="has no entry 0: vary all"):
        expand(parse_call("ddim"), {"interval[1]": [2]})


def test_a_curve_of_cost_joins_runs_that_differ_in_steps_alone() -> None:
    assert series_of("heun", {"steps": 5, "guidance": 2}) == "heun, guidance=2"
    assert series_of("heun", {"guidance": 2}) == "heun"


def test_the_front_is_what_nothing_beats() -> None:
    """By definition, on random points with many ties."""
    values = np.random.default_rng(0).integers(0, 6, (40, 2)).astype(float)
    points = {at: (float(cost), float(loss)) for at, (cost, loss) in enumerate(values)}
    for at, over in dominators(points).items():
        beaten = (values <= values[at]).all(1) & (values < values[at]).any(1)
        assert (over is None) == (not beaten.any())
        if over is not None:
            assert beaten[over]
            assert values[over, 1] == values[beaten, 1].min()


def test_the_share_of_resamples_on_the_front_agrees_with_the_rule() -> None:
    """Draw by draw, as `dominators` says; and by a closed form: two equal runs take turns."""
    rng = np.random.default_rng(3)
    costs, losses = rng.integers(1, 4, 6).astype(float), rng.integers(0, 4, (50, 6)).astype(float)
    points = [dict(enumerate(zip(costs, draw, strict=True))) for draw in losses]
    on_front = [[over is None for over in dominators(one).values()] for one in points]
    assert front_shares(costs, losses).tolist() == pytest.approx(np.mean(on_front, 0).tolist())
    two = front_shares(np.array([1.0, 2.0]), rng.normal(size=(4000, 2)))
    assert two[0] == 1
    assert two[1] == pytest.approx(0.5, abs=0.03)


def test_rows_without_resamples_have_no_share() -> None:
    scores = {"good": Score(1.0, None, None, 4), "fd": Score(2.0, None, None, 4)}
    rows = [Row(n, n, "m", None, n, False, cost, 4, 0, scores) for n, cost in (("a", 1), ("b", 2))]
    drawn = {"good": np.array([[1.0, 2.0], [1.0, 0.0]]), "fd": np.full((2, 2), np.nan)}
    found, _ = with_fronts(rows, {"good": "higher", "fd": "lower"}, "nfe", drawn)
    assert [row.front_share for row in found] == [{"good": 1.0}, {"good": 0.5}]
    assert [row.dominated_by["fd"] for row in found] == [None, "a"]


def test_a_sweep_is_ordinary_runs_with_a_table_of_score_against_cost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "p.txt").write_text("".join(f"class {i}\n" for i in range(4)))
    common = ["--model", "gmm", "--prompts", str(tmp_path / "p.txt"), "--metrics", "contrast"]
    common += ["--results", str(tmp_path), "--workers", "1"]
    listed = tmp_path / "list.txt"
    listed.write_text("# solvers\nheun(guidance=2)\n\n")
    grid = ["--vary", "steps=2,4", "--list", str(listed)]
    assert harness(monkeypatch, "sweep", "ddim(guidance=2)", *grid, *common) == 0
    assert "on the Pareto" in capsys.readouterr().out
    (folder,) = (tmp_path / "p").glob("sweep-*")
    survey = load_survey(str(folder))
    assert [row.nfe for row in survey.rows] == [4, 8, 6, 14]
    assert [row.point for row in survey.rows] == [{"steps": 2}, {"steps": 4}] * 2
    table = pd.read_parquet(folder / "points.parquet")
    assert table["run"].tolist() == [row.label for row in survey.rows]
    assert table["on_front"].tolist() == [
        row.dominated_by["contrast"] is None for row in survey.rows
    ]
    assert table["on_front"][0]
    assert table["front_share"].between(0, 1).all()
    assert set(table["standing"].dropna()) <= {"best", "tied"}
    page = (folder / "index.html").read_text()
    assert "<svg" in page
    assert (folder / "figures" / "cost-contrast.pdf").stat().st_size
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("images/*.parquet")}
    assert len(made) == 4
    more = ["--vary", "steps=2,4,6", "--vary", "guidance=2,3"]
    assert harness(monkeypatch, "sweep", "ddim", *more, *common) == 0
    again = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("images/*.parquet")}
    assert len(again) == 4 + 4
    assert made.items() <= again.items()
    assert list((tmp_path / "p").glob("sweep-*/figures/map-ddim-contrast.svg"))


def test_a_grid_of_intervals_leaves_out_what_is_impossible(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    chosen = ["--bench", "guidance-interval-shapes", "--tiny", "--results", str(tmp_path)]
    assert harness(monkeypatch, "bench", *chosen, "--workers", "1") == 0
    folder = tmp_path / "guidance-interval-shapes-tiny" / "survey"
    survey = load_survey(str(folder))
    places = [(row.point["interval[0]"], row.point["interval[1]"]) for row in survey.rows]
    assert places == [(0.3, 2), (0.3, 15), (2, 15)]
    assert "Left out" in survey.notes[0]
    assert list(folder.glob("figures/map-*.svg"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sweep"], "nothing to sweep"),
        (["sweep", "ddim", "--vary", "guidanc=1,2"], "did you mean 'guidance'"),
        (["sweep", "ddim", "--vary", "guidance=low"], "guidance='low'"),
        (["sweep", "--list", "none.txt"], "cannot read the list of samplers none.txt"),
        (["sweep", "ddim", "--cost", "nf"], "did you mean 'nfe'"),
        (["sweep", "ddim", "--vary", "steps=2,x"], "parameter steps='x' should be a valid integer"),
        (["sweep", "ddim", "--vary", "steps=2,2.5"], "steps=2.5 should be a valid integer"),
        (["sweep", "zigzag", "--vary", "inversion=exact,relased"], "should be 'exact' or"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert harness(monkeypatch, *arguments, "--model", "gmm") == 2
    assert words in capsys.readouterr().err
