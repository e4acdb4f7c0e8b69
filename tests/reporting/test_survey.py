"""The page of several samplers."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from harness.core.errors import HarnessError
from harness.reporting import words, write_report
from harness.reporting.points import fronts
from harness.reporting.set_gaps import set_gaps, set_verdicts
from harness.reporting.survey_curves import along_curves, curves
from harness.reporting.survey_page import runs
from harness.store.comparison_tables import MetricInfo
from harness.store.survey_table import (
    Point,
    Rate,
    Row,
    Score,
    SetGap,
    SurveyTable,
    load_survey,
)
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
    assert page.count("<script") == 1  # its own, which the page's policy knows by its hash
    assert "script-src 'sha256-" in page
    assert "<script>alert" not in page
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


def test_set_scores_have_their_differences_and_verdicts(survey, tmp_path):
    """In the survey as in a comparison: raw, corrected with its interval, and a word for it."""
    gaps = [
        SetGap("own", "fd", 0.4, -0.9, -1.2, -0.6, 40, "better", None, 20.0),
        SetGap("matched cost", "fd", 0.4, None, None, None, 40, "undefined", "too few", 40.0),
        SetGap("guidance 4", "fd", 2.0, 1.5, 1.0, 2.0, 40, "worse", None, 40.0),
    ]
    rows = [replace(one, set_gaps=gaps) if one.rates else one for one in survey.rows]
    shown = replace(survey, rows=rows)
    table = set_gaps(shown)
    assert [row[1:] for row in table.groups[0].rows] == [
        [
            "own settings",
            "20",
            "+0.400",
            "\N{MINUS SIGN}0.900 [\N{MINUS SIGN}1.200, \N{MINUS SIGN}0.600]",
            "better",
        ],
        ["matched cost", "40", "+0.400", "too few", "undefined"],
        ["guidance 4", "40", "+2.000", "+1.500 [+1.000, +2.000]", "worse"],
    ]
    assert {rate.setting for rate in survey.rows[1].rates} == {"own"}
    assert set_verdicts(shown) == [f"At own settings, on Frechet distance: better: {ATTACK}."]
    assert not set_gaps(survey).groups
    shown.save(str(tmp_path))
    assert load_survey(str(tmp_path)) == shown
    text = open(write_report(shown, str(tmp_path))).read()  # noqa: SIM115
    assert "Differences of whole sets from the baseline" in text
    assert 'class="text verdict better">better' in text


def test_the_front_tells_how_often_and_which_are_not_told_apart(survey):
    tied = replace(survey.rows[0].scores["good"], standing="tied")
    first = replace(survey.rows[0], front_share={"good": 0.874}, scores={"good": tied})
    table = fronts(replace(survey, rows=[first, *survey.rows[1:]]))
    assert table.groups[0].rows[0][-2:] == ["yes (87\N{NO-BREAK SPACE}%)", "tied"]
    assert table.groups[0].rows[1][-2:] == ["yes", words.NONE]


def test_what_is_stored_is_what_is_read_and_another_file_is_refused(survey, tmp_path):
    survey.save(str(tmp_path))
    assert load_survey(str(tmp_path)) == survey
    where = tmp_path / "survey.json"
    record = json.loads(where.read_text())
    del record["rows"][1]["label"]
    where.write_text(json.dumps(record))
    with pytest.raises(HarnessError, match=r"another version .*: rows\.1\.label: "):
        load_survey(str(tmp_path))
