"""Pages of several samplers: headline, board, pictures; and their short form in a terminal."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.comparison import compare
from harness.comparison.matrix import compare_all
from harness.core.call import Call
from harness.core.shards import item_id
from harness.reporting import console_tables, write_report
from harness.reporting.board import BoardPage
from harness.reporting.matrix_board import duel_board, named, verdict
from harness.reporting.matrix_board import headline as matrix_headline
from harness.reporting.picture_grid import pictures
from harness.reporting.shared_reasons import shared_reasons
from harness.reporting.survey_board import decisive, score_board, verdict_board
from harness.reporting.survey_headline import headline, lead
from harness.reporting.survey_page import full
from harness.runs.catalogue import write_catalogue
from harness.store.matrix_table import MatrixTable
from harness.store.results import Estimate
from harness.store.survey_table import Pictured, Point, Rate, Row, Score, SurveyTable
from tests.browser import WIDTHS, needs_browser, open_all, opened, too_wide
from tests.comparison.synthetic_runs import Item, make_run
from tests.reporting.examples import ATTACK, COST, FD, GOOD

LONG = "a sampler with a name that somebody wrote out at length, and then some more of it"
SETTINGS = (
    "own",
    "matched cost",
    "matched guidance",
    "matched cost and guidance",
    "guidance curve",
)
FEW = "40 images are too few"


def rate(setting: str, value: float, verdict: str, role: str = "exploratory") -> Rate:
    ends = (value - 0.04, value + 0.04)
    return Rate(setting, "good", value, *ends, 40, verdict, None, 20.0, role, 0.03, decided=0.4)


def row(label: str, good: float, nfe: float, **more: Any) -> Row:
    scores = {
        "good": Score(good, good - 0.1, good + 0.1, 40, standing="best" if good > 0.85 else "tied"),
        "cost": Score(good / 2, good / 3, good, 40),
        "fd": Score(None, None, None, 40, FEW),
    }
    values: dict[str, Any] = {"baseline": False, "dominated_by": {"good": None, "cost": "ddim"}}
    about = {"sampler": label, "model": "m", "guide": None, "path": f"no/{label[:9]}", **values}
    return Row(
        label, nfe=nfe, images=40, failed=0, scores=scores, guidance=5.0, **{**about, **more}
    )


def make_survey() -> SurveyTable:
    """A baseline, and candidates of which one wins, one loses and the others do neither."""

    def compared(value: float, verdict: str) -> list[Rate]:
        others = [rate(setting, value, verdict) for setting in SETTINGS[:-1]]
        return [*others, rate(SETTINGS[-1], value, verdict, "primary")]

    curve = [Point(w, "ddim", 20, {"good": Score(0.4, 0.3, 0.5, 40)}, []) for w in (1.0, 4.0)]
    rows = [
        row("baseline ddim (20 steps)", 0.5, 20, baseline=True),
        row("Restart", 0.8, 40, rates=compared(0.44, "loses"), curve=curve, folder="1-restart"),
        row(ATTACK, 0.9, 40, rates=compared(0.61, "wins"), curve=curve),
        row(LONG, 0.7, 30, rates=compared(0.51, "undecided"), curve=curve),
        row("Heun", 0.6, 38, rates=compared(0.52, "undecided"), absent={"own": "why not"}),
    ]
    return SurveyTable("s", "Some samplers", [GOOD, COST, FD], "good", rows, [], ["harness bench"])


def make_sweep(folder: Path) -> SurveyTable:
    """Six points of two samplers over guidance and steps, with runs that hold pictures."""
    rows = []
    for name in ("ddim", "heun"):
        for steps in (5, 10):
            for weight in (2.0, 5.0, 9.0):
                call = Call(name, {"steps": steps, "guidance": weight})
                path = str(folder / "results" / "b" / "m" / f"{name}-{steps}-{weight:g}")
                run = make_run(path, [Item(f"p{i}", 0, {"good": 0.5}) for i in range(3)], call)
                point = {"steps": steps, "guidance": weight}
                label = f"{name}: steps={steps}, guidance={weight:g}"
                good = 0.1 * steps - 0.05 * weight
                about = {"sampler": str(run.spec.sampler), "model": run.spec.model}
                about |= {"path": path, "point": point}
                rows.append(row(label, good, 2 * steps, series=name, **about))
    varied = ["steps", "guidance"]
    return SurveyTable("s", "A sweep", [GOOD, COST, FD], None, rows, [], [], varied=varied)


def make_matrix(folder: Path) -> MatrixTable:
    """Three runs, the last of them the best, stored under names that say nothing."""
    runs = {}
    for at, (name, steps) in enumerate((("ddim", 5), ("ddim", 10), ("zigzag", 10))):
        items = [
            Item(f"p{i}", 0, {"good": 0.1 * (i % 4) + 0.2 * at, "cost": 0.3}) for i in range(20)
        ]
        call = Call(name, {"steps": steps, "guidance": 5.0})
        runs[f"{name}-0a1b2c3{at}"] = make_run(str(folder / f"run-{at}"), items, call)
    return compare_all(runs, [GOOD, COST])


@pytest.fixture
def survey() -> SurveyTable:
    return make_survey()


@pytest.fixture
def sweep(tmp_path: Path) -> SurveyTable:
    return make_sweep(tmp_path)


@pytest.fixture
def matrix(tmp_path: Path) -> MatrixTable:
    return make_matrix(tmp_path)


def test_the_headline_goes_by_what_was_declared(survey: SurveyTable) -> None:
    assert decisive(survey, "good") == "guidance curve"
    best = "the best guidance of ddim (20 steps) at equal cost on Goodness"
    rest = "of the other 3 1 loses and 2 are undecided"
    assert headline(survey) == f"{ATTACK} beats {best}; {rest}"
    other = [replace(rate("own", 0.6, "wins"), role="primary"), *survey.rows[1].rates[1:4]]
    assert decisive(replace(survey, rows=[replace(survey.rows[1], rates=other)]), "good") == "own"
    nobody = replace(survey, rows=[r for r in survey.rows if r.label != ATTACK])
    said = "None of 3 candidates beats {}; 1 loses and 2 are undecided"
    assert headline(nobody) == said.format(best)
    plain = [replace(r, rates=[x for x in r.rates if x.setting == "own"]) for r in nobody.rows]
    own = replace(nobody, rows=plain)
    assert headline(own) == said.format("ddim (20 steps) on Goodness at own settings")
    assert lead(own).startswith("No primary result is declared")
    alone = replace(own, rows=own.rows[:2])
    assert headline(alone) == "Restart loses to ddim (20 steps) on Goodness at own settings"


def test_a_cell_has_sign_colour_number_and_interval_and_leads_to_its_pairs(
    survey: SurveyTable,
) -> None:
    board = verdict_board(survey, GOOD, {"Restart": "1-restart/report/index.html"})
    assert board.columns[1] == "own settings"
    assert board.columns[5] == "best guidance at equal cost"
    assert board.declared == {"best guidance at equal cost"}
    first, second, *_ = board.rows
    assert (first.link, second.link) == ("1-restart/report/index.html", None)
    cell = first.cells[5]
    assert (cell.sign, cell.verdict) == ("▼", "loses")
    assert (cell.text, cell.small) == ("44.0\xa0%", "[40.0, 48.0]")
    assert "NFE 40 against 20" in cell.told
    assert verdict_board(survey, COST, {}).rows == []


def test_a_sweep_begins_with_its_best_run(sweep: SurveyTable) -> None:
    assert headline(sweep).startswith("Best on Goodness\xa0↑: ddim: steps=10, guidance=2, 0.900 [")
    board = score_board(sweep)
    assert [cells.cells[3].sign for cells in board.rows][:3] == ["★", "★", "☆"]
    assert FEW in board.note
    assert board.note.count(FEW) == 1


def test_pictures_of_a_sweep_stand_by_what_was_varied(sweep: SurveyTable) -> None:
    found = pictures(sweep)
    assert [text.split(" (")[1] for text in found.choices] == ["seed 0)"] * 3
    assert [grid.title for grid in found.grids] == ["ddim", "heun"]
    grid = found.grids[0]
    assert grid.down == ["steps 5", "steps 10"]
    assert grid.across == ["guidance 2", "guidance 5", "guidance 9"]
    assert all(picture for line in grid.pictures[0] for picture in line)
    one = replace(sweep, varied=["guidance"], rows=sweep.rows[:3])
    assert pictures(one).grids[0].down == [""]
    chosen = replace(sweep, pictures=[Pictured("shape 2", 0, item_id("p2", 0))])
    assert pictures(chosen).choices == [found.choices[at] for at in (2, 0, 1)]
    twice = replace(sweep, varied=[], rows=[*sweep.rows[:2], replace(sweep.rows[0], label="again")])
    assert pictures(twice).grids[0].across == [one.label for one in sweep.rows[:2]]
    elsewhere = [replace(each, path="not/here") for each in sweep.rows]
    assert not pictures(replace(sweep, rows=elsewhere))


def test_a_run_of_another_sampler_at_the_same_place_is_not_shown(sweep: SurveyTable) -> None:
    rows = [replace(sweep.rows[0], sampler="edm(steps=5)"), *sweep.rows[1:]]
    found = pictures(replace(sweep, rows=rows))
    assert found.grids[0].pictures[0][0][0] is None
    assert "1 run" in found.note


def test_a_matrix_names_samplers_for_people(matrix: MatrixTable) -> None:
    shown = named(matrix)
    assert list(shown.runs) == ["ddim (steps 5)", "ddim (steps 10)", "zigzag (10 steps)"]
    said = matrix_headline(shown)
    assert said.startswith("zigzag (10 steps) is first on Goodness\xa0↑: it wins ")
    assert said.endswith("and beats 2 of the other 2")
    board = duel_board(shown, GOOD)
    assert board.rows[0].cells[0].text == "zigzag (10 steps)"
    assert [cell.verdict for cell in board.rows[0].cells[3:6]] == ["", "wins", "wins"]
    assert all(verdict(duel) == "undecided" for duel in shown.duels if duel.metric == "cost")


def told(tables: Any, verbose: bool = False) -> list[str]:
    """What a terminal of 80 columns shows."""
    console = Console(file=StringIO(), width=80, highlight=False)
    for part in console_tables(tables, "", verbose):
        console.print(part)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_the_terminal_has_twenty_lines_with_a_row_a_sampler(
    survey: SurveyTable, sweep: SurveyTable, matrix: MatrixTable
) -> None:
    plain = [replace(r, label=r.label[:20]) for r in survey.rows]
    lines = told(replace(survey, rows=plain))
    assert len(lines) <= 20
    (restart,) = [line for line in lines if line.startswith(" Restart")]
    assert "44.0 [40.0, 48.0]" in restart
    assert "40:20" in restart
    assert "●" in restart
    assert restart.rstrip().endswith("loses")
    assert sum(FEW in line for line in lines) == 1
    for tables in (sweep, matrix):
        shown = told(tables)
        assert len(shown) <= 24
        assert max(map(len, shown)) <= 80
        assert len(told(tables, verbose=True)) > len(shown)


def test_of_many_samplers_the_best_and_the_worst_are_shown(survey: SurveyTable) -> None:
    many = [replace(survey.rows[1], label=f"sampler {at}") for at in range(60)]
    lines = told(replace(survey, rows=[survey.rows[0], *many]))
    assert len(lines) < 30
    assert any("44 are between" in line for line in lines)


def test_each_part_of_a_survey_is_told_as_it_begins(survey: SurveyTable, tmp_path: Path) -> None:
    items = [Item(f"p{i}", 0, {"good": 0.1 * (i % 4)}) for i in range(4)]
    one, other = (
        make_run(str(tmp_path / name), items, Call("ddim", {"steps": steps, "guidance": 5.0}))
        for name, steps in (("a", 5), ("b", 10))
    )
    compare(one, {"own": other}, [GOOD], str(tmp_path / "a"))
    survey.rows[1] = replace(survey.rows[1], folder="a")
    said: list[str] = []
    where = write_report(survey, str(tmp_path), said.append)
    assert said == ["report 1 of 2: Restart", "report 2 of 2: all candidates"]
    text = Path(where).read_text()
    assert 'href="a/report/index.html"' in text
    assert (tmp_path / "a" / "report" / "index.html").exists()


def test_a_reason_is_told_once_where_rows_share_it() -> None:
    few, other = (Estimate(None, None, None, 8, reason) for reason in ("too few", "not comparable"))
    assert shared_reasons([[few, few], [few, other], [Estimate(1.0, None, None, 8)]]) == ["too few"]


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pages")
    survey, sweep = make_survey(), make_sweep(folder)
    many = [row(f"{LONG} {at}", 0.4, 20 + at, rates=survey.rows[3].rates) for at in range(9)]
    survey = replace(survey, rows=[*survey.rows, *many], notes=[LONG * 3])
    beside = folder / "results" / "b" / "sweep-0a1b"
    sweep.save(str(beside))
    found = {
        "survey": write_report(survey, str(folder / "survey")),
        "sweep": write_report(sweep, str(beside)),
        "matrix": write_report(make_matrix(folder), str(folder / "matrix")),
        "index": write_catalogue(str(folder / "results")),
    }
    return {name: Path(path).as_uri() for name, path in found.items()}


@needs_browser
def test_pages_fit_their_window_and_are_quiet(browser: Any, addresses: dict[str, str]) -> None:
    for address in addresses.values():
        for width in WIDTHS:
            with opened(browser, address, width) as page:
                open_all(page)
                assert too_wide(page) == []


@needs_browser
def test_a_click_on_a_heading_sorts(browser: Any, addresses: dict[str, str]) -> None:
    with opened(browser, addresses["survey"]) as page:
        board = page.locator("table.board").first

        def column(at: int) -> list[str]:
            cells = board.locator(f"tbody tr > :nth-child({at})").all()
            return [cell.get_attribute("data-value") or "" for cell in cells]

        heading = board.locator("thead th").nth(1)
        heading.locator("button").click()
        falling = [float(value) for value in column(2)]
        assert falling == sorted(falling, reverse=True)
        assert falling[0] > falling[-1]
        assert heading.get_attribute("aria-sort") == "descending"
        heading.locator("button").click()
        assert [float(value) for value in column(2)] == falling[::-1]
        board.locator("thead button").first.click()
        assert column(1) == sorted(column(1))


@needs_browser
def test_the_first_column_stays_and_the_edge_is_seen(
    browser: Any, addresses: dict[str, str]
) -> None:
    with opened(browser, addresses["survey"], 500) as page:
        box = page.locator(".scroll").first
        box.evaluate("e => { e.scrollLeft = 200 }")
        first = box.locator("tbody th").first.bounding_box()
        assert first["x"] == pytest.approx(box.bounding_box()["x"], abs=1)
        assert "gradient" in box.evaluate("e => getComputedStyle(e).backgroundImage")


@needs_browser
def test_a_prompt_is_chosen(browser: Any, addresses: dict[str, str]) -> None:
    with opened(browser, addresses["sweep"]) as page:
        shown = [look.is_visible() for look in page.locator(".look").all()]
        assert shown == [True, False, False]
        page.select_option(".choose", "2")
        assert [look.is_visible() for look in page.locator(".look").all()] == [False, False, True]
        assert page.locator(".look:visible img").count() == 12


def test_a_survey_is_a_page_with_a_board(survey: SurveyTable) -> None:
    page = full(survey, "")
    assert isinstance(page, BoardPage)
    assert [len(board.rows) for board in page.boards] == [4]
