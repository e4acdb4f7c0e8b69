"""Every file format: what is read, and what a broken file says."""

import csv
import io
import json

import pandas as pd
import pytest

from harness.core.errors import HarnessError
from harness.prompts.base import load_prompts
from harness.prompts.readers import read_rows

# What breaks naive readers: commas, quotes, line breaks, other scripts, blanks, pandas' "missing".
TEXTS = [
    "a red, round ball",
    'the word "START"',
    "two\nlines",
    "Müller, 夫妻肺片 🐈",
    " kept ",
    "NA",
]
CATEGORIES = ["x", "x", "y", "y, z", "y", "null"]


def _csv(delimiter, end):
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerows([["Prompt", "Category"], *zip(TEXTS, CATEGORIES, strict=True)])
    return out.getvalue().encode()


def _records():
    return [{"prompt": t, "category": c} for t, c in zip(TEXTS, CATEGORIES, strict=True)]


def _parquet():
    out = io.BytesIO()
    pd.DataFrame(_records()).to_parquet(out)
    return out.getvalue()


FILES = {
    "a.csv": _csv(",", "\n"),
    "crlf.csv": _csv(",", "\r\n"),
    "bom.csv": b"\xef\xbb\xbf" + _csv(",", "\r\n"),
    "a.tsv": _csv("\t", "\n"),
    "a.json": json.dumps(_records()).encode(),
    "utf8.json": json.dumps(_records(), ensure_ascii=False, indent=1).encode(),
    "bom.jsonl": b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(r).encode() for r in _records()),
    "a.parquet": _parquet(),
    "UPPER.CSV": _csv(",", "\n"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_prompts(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(FILES[name])
    found = load_prompts(str(path))
    assert [p.text for p in found.prompts] == TEXTS
    assert [p.category for p in found.prompts] == CATEGORIES
    assert [p.id for p in found.prompts] == [f"{path.stem}-{i:04d}" for i in range(len(TEXTS))]
    assert all(p.notes == {} for p in found.prompts)
    assert found.name == path.stem
    assert found.source == str(path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_text_lines_keep_their_numbers_over_blank_lines(tmp_path, end):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbf" + end.join(["one", "", "  ", "vier\u2028!", ""]).encode())
    found = load_prompts(str(path))
    assert [(p.id, p.text) for p in found.prompts] == [
        ("list-0000", "one"),
        ("list-0003", "vier\u2028!"),
    ]


def test_json_texts_alone_are_prompts(tmp_path):
    for name, content in {"a.json": '["one", "two"]', "a.jsonl": '"one"\n\n"two"\n'}.items():
        (tmp_path / name).write_text(content)
        assert [p.text for p in load_prompts(str(tmp_path / name)).prompts] == ["one", "two"]


def test_blank_lines_of_a_table_are_no_rows():
    assert read_rows(b"\nprompt\n\na\n\nb\n", "a.csv") == [{"prompt": "a"}, {"prompt": "b"}]


def test_parquet_missing_values_are_none():
    out = io.BytesIO()
    pd.DataFrame({"prompt": ["a", None], "n": [1.0, None]}).to_parquet(out)
    assert read_rows(out.getvalue(), "a.parquet")[1] == {"prompt": None, "n": None}


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.csv", b"prompt,n\na,1\na cat, a dog,2\n", "line 3: 3 fields, but .* 2 columns"),
        ("a.csv", b"prompt,n\na\n", "line 2: 1 fields"),
        ("a.csv", b'prompt\n"never closed\n', "line 2: .*end of data"),
        ("a.tsv", b'prompt\tn\n"G" painted\t1\n"a"\t2\n', "line 2: .*expected after"),
        ("a.csv", b"prompt,prompt\na,b\n", "'prompt' twice"),
        ("a.txt", "caf\u00e9".encode("latin-1"), "not UTF-8 .*0xe9 on line 1.*Save it as UTF-8"),
        ("a.txt", b"fine\nnot \xff\n", "0xff on line 2"),
        ("a.csv", "prompt\na".encode("utf-16"), "not UTF-8"),
        ("a.json", b'[{"prompt": "a"', "a.json: not JSON: .* at line 1, column"),
        ("a.json", b'{"prompts": ["a"]}', "holds an object: expected a list"),
        ("a.json", b'["a", 3]', "entry 2 is a number"),
        ("a.json", b'["a", null]', "entry 2 is null"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.jsonl", b'{"prompt": "a"}\n\n{oops}\n', "line 3: not JSON"),
        ("a.jsonl", b'["a"]\n', "line 1 is a list"),
        ("a.parquet", b"PAR1 is not enough", "not a readable Parquet file"),
        ("a.xlsx", b"PK", "expected a file ending in .txt, .csv"),
    ],
)
def test_a_broken_file_gives_one_clear_line(tmp_path, name, data, says):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(HarnessError, match=says) as caught:
        load_prompts(str(path))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
