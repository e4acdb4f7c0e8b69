"""One text is one prompt: rows of equal text are merged, and it is said."""

import json

import pandas as pd
import pytest

from harness.core.errors import HarnessError
from harness.core.shards import Prompt, asked_items
from harness.prompts.base import PROMPT_SETS, PromptSource, load_prompts
from harness.prompts.merging import merged
from harness.prompts.split import split_of

TEXTS = [f"text {i}" for i in range(7)]
ROWS = [{"prompt": text, "question": f"q{at}"} for text in TEXTS for at in range(10)]


def written(path, rows=ROWS):
    """The rows as a file of the path's format."""
    frame = pd.DataFrame(rows)
    suffix = path.suffix
    if suffix == ".txt":
        path.write_text("\n".join(row["prompt"] for row in rows))
    elif suffix in (".csv", ".tsv"):
        frame.to_csv(path, index=False, sep="," if suffix == ".csv" else "\t")
    elif suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=suffix == ".jsonl")
    return str(path)


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_seventy_rows_of_seven_texts_are_seven_prompts_in_one_line(tmp_path, caplog, suffix):
    path = written(tmp_path / f"rows{suffix}")
    prompts = load_prompts(path)
    assert [(p.id, p.text) for p in prompts.prompts] == [
        (f"rows-{10 * i:04d}", text) for i, text in enumerate(TEXTS)
    ]
    assert prompts.rows == tuple(row["prompt"] for row in ROWS)
    (said,) = caplog.messages
    assert "rows" + suffix + ": 70 rows hold 7 distinct prompts: equal texts are one prompt" in said
    assert ("differ in question" in said) is (suffix != ".txt")
    assert ("not read" in said) is (suffix in (".csv", ".tsv", ".parquet"))
    assert len(asked_items(list(prompts.prompts), [0, 1])) == 14


def test_limits_and_splits_are_of_distinct_prompts(tmp_path):
    path = written(tmp_path / "rows.csv")
    assert [p.text for p in load_prompts(path, limit=3).prompts] == TEXTS[:3]
    parts = {s: load_prompts(f"{path}(split={s})").prompts for s in ("dev", "test")}
    assert sorted(p.text for part in parts.values() for p in part) == TEXTS
    assert all(split_of(p.id) == s for s, part in parts.items() for p in part)


def test_a_registered_set_is_merged_too_and_counts_its_rows(monkeypatch, caplog):
    PROMPT_SETS.names()
    monkeypatch.setattr(PROMPT_SETS, "_entries", dict(PROMPT_SETS._entries))
    rows = [Prompt(f"r{i}", f"text {i % 2}", notes={"image": i}) for i in range(4)]
    PROMPT_SETS.add("rows", PromptSource("rows", "", "here", "", "", 4, 1, lambda files: rows))
    prompts = load_prompts("rows")
    assert [p.notes for p in prompts.prompts] == [{"image": [0, 2]}, {"image": [1, 3]}]
    assert "rows: 4 rows hold 2 distinct prompts" in caplog.text


def test_distinct_prompts_are_left_as_they_are_without_a_word(caplog):
    prompts = (Prompt("a", "one", "k", {"n": [1]}), Prompt("b", "one "), Prompt("c", ""))
    assert merged(prompts, "f") == prompts
    assert not caplog.records


def test_categories_are_joined_and_notes_stay_together(caplog):
    rows = [
        Prompt("a", "x", "colors", {"image": 3, "question": "how many?", "answer": "2"}),
        Prompt("b", "y", "counting"),
        Prompt("c", "x", "counting", {"image": 3, "question": "red?", "answer": "2", "more": [1]}),
        Prompt("d", "x", "", {"image": 3, "question": "where?", "answer": "2"}),
    ]
    (x, y) = merged(rows, "f.json")
    assert (x.id, x.category, y) == ("a", "colors + counting", rows[1])
    assert x.notes == {
        "image": 3,
        "question": ["how many?", "red?", "where?"],
        "answer": "2",
        "more": [None, [1], None],
    }
    (said,) = caplog.messages
    assert "4 rows hold 2 distinct prompts" in said
    assert "1 of them in several categories, joined ('colors + counting')" in said
    assert "differ in question, more, which stay together in the notes" in said


def test_rows_that_want_different_pictures_of_a_text_are_refused(tmp_path):
    rows = [{"prompt": "a cat and a dog", "objects": name} for name in ("cat", "dog")]
    (tmp_path / "f.json").write_text(json.dumps(rows))
    with pytest.raises(HarnessError, match=r"2 rows are the prompt 'a cat.*different objects"):
        load_prompts(str(tmp_path / "f.json"))
    rows[1]["objects"] = "cat"
    (tmp_path / "f.json").write_text(json.dumps(rows))
    (prompt,) = load_prompts(str(tmp_path / "f.json")).prompts
    assert prompt.notes == {"objects": "cat"}


def test_one_id_for_the_rows_of_a_text_is_its_id_and_for_two_texts_an_error(tmp_path):
    (tmp_path / "a.csv").write_text("id,prompt\n7,x\n7,x\n8,y\n")
    assert [p.id for p in load_prompts(str(tmp_path / "a.csv")).prompts] == ["7", "8"]
    (tmp_path / "a.csv").write_text("id,prompt\n7,x\n7,y\n7,x\n")
    with pytest.raises(HarnessError, match=r"id '7' stands for 2 prompts"):
        load_prompts(str(tmp_path / "a.csv"))
