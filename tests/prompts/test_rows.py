"""Columns, ids, categories and notes of a user's rows."""

import pytest

from harness.core.errors import HarnessError
from harness.prompts.columns import build_prompts


def build(rows, **options):
    return build_prompts(rows, name="f.csv", stem="f", **options)


@pytest.mark.parametrize("name", ["prompt", "Prompts", "CAPTION", "text", " Text "])
def test_the_usual_names_are_found_in_any_case(name):
    assert build([{"n": "1", name: "a"}])[0].text == "a"


def test_an_explicit_column_wins_over_the_usual_one():
    assert build([{"prompt": "a", "long": "b"}], column="long")[0].text == "b"


def test_several_candidates_are_listed():
    with pytest.raises(HarnessError, match=r"several .*'prompt', 'caption'.*column=prompt\)"):
        build([{"prompt": "a", "caption": "b", "n": "1"}])


def test_no_candidate_lists_the_columns_shortened():
    row = {"a" * 90: "1", **{f"c{i}": "" for i in range(20)}}
    with pytest.raises(HarnessError, match=r"no column .*\.\.\.', 'c0', .* and 9 more") as caught:
        build([row])
    assert "must name its columns" in str(caught.value)
    assert "a" * 41 not in str(caught.value)


def test_an_unknown_column_gets_the_closest():
    with pytest.raises(HarnessError, match=r"'Prompt' for f.csv: did you mean 'Prompts'"):
        build([{"Prompts": "a"}], column="Prompt")


def test_ids_come_from_the_file_and_are_text():
    rows = [{"id": 7, "prompt": "a"}, {"id": " x ", "prompt": "b"}]
    assert [p.id for p in build(rows)] == ["7", "x"]


def test_without_ids_an_emptied_row_moves_no_other():
    rows = [{"prompt": text} for text in ["a", "", None, " \t", "b"]]
    assert [(p.id, p.text) for p in build(rows)] == [("f-0000", "a"), ("f-0004", "b")]


def test_texts_stay_and_categories_are_stripped():
    prompt = build([{"prompt": " a ", "Category": "Gary Marcus et al. "}])[0]
    assert (prompt.text, prompt.category) == (" a ", "Gary Marcus et al.")


def test_notes_hold_the_other_columns_when_asked_for():
    row = {"tag": "two", "include": [{"class": "dog", "count": 2}], "prompt": "a", "id": "i"}
    prompt = build([row], notes=True)[0]
    assert prompt.category == "two"
    assert prompt.notes == {"include": [{"class": "dog", "count": 2}]}
    assert build([row])[0].notes == {}


def test_the_prompt_column_is_not_a_category_too():
    prompt = build([{"tag": "a", "n": "1"}], column="tag")[0]
    assert (prompt.text, prompt.category) == ("a", "")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": ["a", "b"]}, r"row 2: 'prompt' is .*expected a text"),
        ({"prompt": 3}, "row 2: 'prompt' is '3', expected a text"),
        ({"promt": "a"}, "row 2: there is no 'prompt'"),
        ({"prompt": "half \ud83d"}, "lone surrogate"),
        ({"prompt": "a", "id": ""}, "row 2: its 'id' is empty"),
        ({"prompt": "a", "id": "y", "tag": ["a"]}, "row 2: 'tag' is .*expected a text or a whole"),
        ({"prompt": "a", "id": True}, "row 2: 'id' is 'True', expected"),
        ({"prompt": "a", "id": 0.5}, "row 2: 'id' is '0.5', expected"),
    ],
)
def test_a_value_of_the_wrong_kind_names_its_row(row, says):
    with pytest.raises(HarnessError, match=says):
        build([{"prompt": "fine", "id": "x", "tag": "t"}, row])
