"""The page of several samplers."""

from __future__ import annotations

import json
import re

import pytest

from harness.core.errors import HarnessError
from harness.reporting import write_report
from harness.reporting.survey_curves import along_curves, curves
from harness.reporting.survey_page import runs
from harness.store.comparison_tables import MetricInfo
from harness.store.survey_table import Point, Rate, Row, Score, SurveyTable, load_survey
from tests.reporting.examples import ATTACK

GOOD = MetricInfo("good", "higher", "Goodness")
FD = MetricInfo("fd", "lower", "Frechet distance")


def row(label: str, nfe: float, good: float, macs: float | None = None, **more: object) -> Row:
    scores = {
        "good": Score(good, good - 0.1, good + 0.1, 40),
        "fd": Score(None, None, None, 40, "too few images"),
    }
    values: dict = {"sampler": label, "model": "m", "guide": None, "path": "p", "baseline": False}
    values["dominated_by"] = {"good": None}
    return Row(label, nfe=nfe, images=40, failed=0, scores=scores, macs=macs, **{**values, **more})


@pytest.fixture
def survey() -> SurveyTable:
    rates = [Rate("own", "good", 0.7, 0.6, 0.8, 40, "wins", None, 20.0)]
    rows = [
        row("ddim", 20, 0.5, 2e9, baseline=True),
        row(ATTACK, 40, 0.8, 5e9, rates=rates, guidance=7.5),
        row("heun", 40, 0.6, 4e9),
        row("restart", 80, 0.7, 8e9),
    ]
    return SurveyTable("s", "Several", [GOOD, FD], "good", rows, [], ["harness bench --bench s"])


def test_the_page_shows_bars_and_costs_and_labels_stay_text(survey, tmp_path):
    page = open(write_report(survey, str(tmp_path))).read()  # noqa: SIM115
    assert page.count("<svg") == 2  # none of a metric without scores
    assert "<script" not in page
    assert "alert(1)" in page
    assert "harness bench --bench s" in page
    assert not re.search(r"https?:", page)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {f"{n}.{k}" for n in ("cost-good", "winning-rates") for k in ("svg", "pdf")}
    assert "](figures/cost-good.svg)" in (tmp_path / "report.md").read_text()


def test_runs_tell_cost_and_guidance(survey):
    table = runs(survey)
    cells = dict(zip(table.columns, table.groups[0].rows[1], strict=True))
    assert (cells["NFE"], cells["guidance scale"]) == ("40", "7.5")
    assert "guidance scale" in table.wide  # a terminal has no room for it


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_a_curve_may_start_without_guidance(direction):
    """A scale of 0 has no place on a logarithmic axis; it is in the table all the same."""
    points = [
        Point(weight, "ddim", 20, {"good": Score(value, value - 0.1, value + 0.1, 40)}, [])
        for weight, value in ((4.0, 0.5), (0.0, 0.9), (1.0, 0.2))
    ]
    rows = [row("a", 40, 0.8, curve=points, guidance=7.5), row("b", 40, 0.8, curve=points[:2])]
    survey = SurveyTable("s", "t", [MetricInfo("good", direction)], "good", rows, [], [])
    (drawing,) = curves(survey)
    held = [axes for axes in drawing.figure.axes if axes.get_visible()]
    assert [line.get_xdata().tolist() for line in held[0].lines[:1]] == [[1.0, 4.0]]
    assert len(held) == 1  # one point is no curve
    best = {"higher": ["0", "0"], "lower": ["1", "4"]}[direction]
    assert [cells[3] for cells in along_curves(survey).groups[0].rows] == best


def test_what_is_stored_is_what_is_read_and_another_file_is_refused(survey, tmp_path):
    survey.save(str(tmp_path))
    assert load_survey(str(tmp_path)) == survey
    where = tmp_path / "survey.json"
    record = json.loads(where.read_text())
    del record["rows"][1]["label"]
    where.write_text(json.dumps(record))
    with pytest.raises(HarnessError, match=r"another version .*: rows\.1\.label: "):
        load_survey(str(tmp_path))
