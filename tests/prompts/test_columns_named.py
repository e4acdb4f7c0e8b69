"""What a table has and nothing reads is named; what it says of making a picture is warned of."""

from __future__ import annotations

import pytest

from harness.core.errors import HarnessError
from harness.prompts.base import load_prompts

UNQUOTED = (
    "Prompt\tCategory\na cat on a mat\tAnimals\n"
    '"OPEN" written over a door\tText\n5" nails in a "tin" box\tObjects\n'
)


def test_quotes_of_an_unquoted_table_stand_as_they_are(tmp_path):
    path = tmp_path / "unquoted.tsv"
    path.write_text(UNQUOTED)
    assert [(p.text, p.category) for p in load_prompts(str(path)).prompts] == [
        ("a cat on a mat", "Animals"),
        ('"OPEN" written over a door', "Text"),
        ('5" nails in a "tin" box', "Objects"),
    ]


@pytest.mark.parametrize(
    "line", ['"a ""big"" cat"\tAnimals', '"two\tfields"\tAnimals', '"two\nlines"\tAnimals']
)
def test_a_table_that_quotes_is_read_with_its_quoting_or_refused(tmp_path, line):
    path = tmp_path / "quoted.tsv"
    path.write_text(f"Prompt\tCategory\n{line}\n")
    (prompt,) = load_prompts(str(path)).prompts
    assert prompt.text in ('a "big" cat', "two\tfields", "two\nlines")
    path.write_text(f'Prompt\tCategory\n{line}\n"OPEN" over a door\tText\n')
    with pytest.raises(HarnessError, match="quote"):
        load_prompts(str(path))


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_settings_of_single_rows_are_warned_of(tmp_path, caplog, suffix):
    path = tmp_path / f"own{suffix}"
    path.write_text(
        "prompt,negative_prompt,Seed,guidance_scale\na red ring,dark,7,3\n"
        if suffix == ".csv"
        else '[{"prompt": "a", "negative_prompt": "dark", "Seed": 7, "guidance_scale": 3}]'
    )
    load_prompts(str(path))
    (said,) = caplog.messages
    assert "negative_prompt, Seed, guidance_scale" in said
    assert "--negative, --seeds, SAMPLER(guidance=...)" in said


def test_columns_that_are_not_read_are_named_once(tmp_path, caplog):
    path = tmp_path / "t.csv"
    path.write_text("prompt,question,id,tag,Owner\na,q0,1,t,x\na,q1,1,t,x\n")
    load_prompts(str(path))
    unread = [said for said in caplog.messages if "columns that are not read" in said]
    assert len(unread) == 1
    assert unread[0].endswith(": Owner")  # the question is named where the rows are merged
    assert any("differ in question, which is not read" in said for said in caplog.messages)


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ('{"7": {"prompt": "a", "category": "x"}, "9": {"prompt": "b"}}', ["a", "b"]),
        ('{"7": "a", "9": "b"}', ["a", "b"]),
    ],
)
def test_json_by_id_is_a_table(tmp_path, text, texts):
    path = tmp_path / "meta.json"
    path.write_text(text)
    prompts = load_prompts(str(path)).prompts
    assert [prompt.id for prompt in prompts] == ["7", "9"]
    assert [prompt.text for prompt in prompts] == texts


@pytest.mark.parametrize("text", ['{"prompt": "a"}', '{"styles": ["a"]}', '{"prompt": {"0": "a"}}'])
def test_other_objects_are_no_table(tmp_path, text):
    path = tmp_path / "meta.json"
    path.write_text(text)
    with pytest.raises(HarnessError, match="holds an object"):
        load_prompts(str(path))
