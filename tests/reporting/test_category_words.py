"""What reports say of categories and of the population that they speak of."""

import re
from dataclasses import replace

import pytest

from harness.comparison.matrix import compare_all
from harness.reporting import category_tables, category_words, matrix_page, survey_page, words
from harness.reporting.board_html import board_html
from harness.reporting.comparison_page import brief, full
from harness.reporting.html_page import html_page
from harness.reporting.markdown import markdown
from harness.store.comparison_tables import MetricInfo
from harness.store.survey_table import Rate, Row, SurveyTable
from tests.comparison.category_runs import GOOD, contest
from tests.comparison.synthetic_runs import Item, make_run


@pytest.fixture
def comparison(tmp_path):
    return contest(tmp_path, list("abcdef"), "c")


def test_the_verdict_names_the_category_that_it_rests_on(comparison, tmp_path):
    (said,) = (verdict.line for verdict in brief(comparison, str(tmp_path)).verdicts)
    assert "The 6 categories differ (p\xa0< 0.0001)." in said
    assert re.search(r"The verdict rests on c: without c undecided \(47\.5\xa0% \[.*\]\)\.$", said)
    page = full(comparison, str(tmp_path))
    for text in (markdown(page), html_page(page)):
        assert "The verdict rests on c: without c undecided" in text
        assert "Is it the same in all categories?" in text
        assert "Category by category on Goodness" in text
        assert "Intervals and verdicts speak of prompts like these, in these 6 categories" in text


def test_an_undecided_verdict_names_what_hid_another(tmp_path):
    result = contest(tmp_path, list("abcde"))
    (said,) = (verdict.line for verdict in brief(result, str(tmp_path)).verdicts)
    assert "The 5 categories are not shown to differ (p\xa0= 1.000)." in said
    assert "without" not in said


def test_the_tables_have_each_category(comparison):
    (group,) = category_tables.across(comparison).groups
    assert group.title == words.label(GOOD)
    (row,) = group.rows
    assert row[:3] == ["own settings", "6", "< 0.0001"]
    assert row[-1] == "c (undecided)"
    (group,) = category_tables.one_by_one(comparison, GOOD).groups
    assert [cells[0] for cells in group.rows] == list("abcdef")
    assert group.rows[2][-1] == "undecided"
    assert all(re.fullmatch(r"\d+\.\d\xa0% \[.+\]", cells[3]) for cells in group.rows)


def test_the_terminal_has_them_for_the_first_metric(comparison, tmp_path):
    captions = [table.caption for one in brief(comparison, "").sections for table in one.tables]
    assert f"{words.label(GOOD)}, across categories" in captions


def test_each_population_has_its_sentence(comparison):
    assert category_words.population(comparison) in brief(comparison, "").lines
    wide = replace(comparison, population="categories")
    assert "speak of categories like these 6, a sample of others" in category_words.population(wide)
    assert "Student's t of 5 degrees" in category_words.population(wide)
    assert category_words.over(wide) == "categories"
    none = category_words.speaks_of("prompts", 0)
    assert none == "Intervals and verdicts speak of prompts like these."
    assert "noise like these seeds'" in category_words.speaks_of("prompts", 3, shared=True)


def test_without_categories_there_is_nothing_to_say(tmp_path):
    result = contest(tmp_path, [""])
    assert not category_tables.across(result)
    assert not category_tables.one_by_one(result, GOOD)
    (said,) = (verdict.line for verdict in brief(result, str(tmp_path)).verdicts)
    assert "categor" not in said


def test_a_survey_names_them_too(comparison):
    result = comparison.rate("own", "good")
    rate = Rate.of(result, "own", 20, "exploratory", comparison.changing("own", "good"))
    assert (rate.heterogeneity_p, rate.changing) == (result.heterogeneity_p, ["c"])
    about = ("ddim", "shapes", None, "p", False, 20, 120, 0, {})
    ties = replace(rate, verdict="equivalent", decided=0.1, decided_won=0.9, changing=[])
    rows = [Row(name, *about, rates=[one]) for name, one in (("x", rate), ("y", ties))]
    metric = MetricInfo("good", "higher", "Goodness")
    survey = SurveyTable("s", "t", [metric], "good", rows, [], [], categories=6, margin=0.05)
    lines = survey_page.verdicts(survey)
    assert "The verdict would be another without one category: x (c)." in lines
    assert "Equivalent means little more than ties for y." in lines
    assert category_words.speaks_of("prompts", 6) in lines
    cells = [row[-2] for row in survey_page.runs(survey).groups[0].rows]
    assert cells[1].endswith("\ndecided 10.0\xa0%: 90.0\xa0% " + words.bounds(rate.wins_decided))


def test_a_matrix_tests_categories_in_each_pair(tmp_path):
    def run(name: str, shift: float) -> object:
        items = [
            Item(f"{c}{i}", 0, {"good": 0.1 * (i % 4) + shift * (c == "a")}, category=c)
            for c in "abc"
            for i in range(20)
        ]
        return make_run(str(tmp_path / name), items)

    matrix = compare_all({name: run(name, at) for at, name in enumerate("xyz")}, [GOOD])
    first, mirrored = matrix.duels[:2]
    assert first.heterogeneity_p == mirrored.heterogeneity_p == pytest.approx(1 / 10_001)
    assert (first.decided.value, mirrored.decided.value) == (0, 1)
    assert first.decided_share == pytest.approx(1 / 3)
    assert all(duel.heterogeneity_p is None for duel in matrix.duels if duel.category)
    text = board_html(matrix_page.full(matrix, ""))
    assert "decided 33.3\xa0%: 0.0\xa0% [" in text
    assert "categories differ: p < 0.0001" in text.replace("&lt;", "<")
    assert "in these 3 categories" in text
