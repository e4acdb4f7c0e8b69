"""Readers of prompt files: bytes to rows, one dict a row, in the file's order."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from harness.core.errors import HarnessError, unknown

Rows = list[dict[str, Any]]


def suffix_of(name: str) -> str:
    """The file name's ending in lower case, `.csv`."""
    return PurePosixPath(name.replace("\\", "/")).suffix.lower()


def reader_of(name: str) -> Callable[[bytes, str], Rows]:
    """The reader of files with this name's ending; HarnessError if it is of no known format."""
    suffix = suffix_of(name)
    if suffix not in READERS:
        raise HarnessError(
            f"cannot read prompts from {name!r}: expected a file ending in {', '.join(READERS)}"
        )
    return READERS[suffix]


def read_rows(data: bytes, name: str) -> Rows:
    """Rows of a `.txt`, `.csv`, `.tsv`, `.json`, `.jsonl` or `.parquet` file called `name`.

    A row is a dict from column to value. Text lines, and JSON texts that stand alone, have the one
    column `prompt`. Values are texts, except in JSON and Parquet, which have types. Blank lines
    count as rows in `.txt` only. Raises HarnessError, with the line where there is one, for bytes
    that are not UTF-8 or not of the format.
    """
    return reader_of(name)(data, name)


def decode(data: bytes, name: str) -> str:
    """UTF-8 text, with or without a byte order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise HarnessError(
            f"{name} is not UTF-8 text: byte 0x{data[error.start]:02x} on line {line}. "
            "Save it as UTF-8"
        ) from None


def _text_lines(data: bytes, name: str) -> Rows:
    lines = io.StringIO(decode(data, name), newline=None)
    return [{"prompt": line.rstrip("\n")} for line in lines]


def _delimited(data: bytes, name: str, delimiter: str) -> Rows:
    """Rows of a table with its quoting; or, where that fails, without any."""
    text = decode(data, name)
    _check_separator(text, name, delimiter)
    try:
        return _quoted(text, name, delimiter)
    except HarnessError:
        if (plain := _unquoted(text, name, delimiter)) is None:
            raise
        return plain


SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
"""What separates the columns of a table, by name."""


def separated_by(separator: str) -> Callable[[bytes, str], Rows]:
    """The reader of a table whose columns are separated otherwise than its file's ending says; by a
    character or its name. Raises HarnessError for another one."""
    by_name = {word: char for char, word in SEPARATORS.items()}
    if (char := by_name.get(separator, separator)) not in SEPARATORS:
        raise unknown("separator", separator, by_name)
    return partial(_delimited, delimiter=char)


def _check_separator(text: str, name: str, delimiter: str) -> None:
    """Raise HarnessError where the first row has one column, and several with another separator."""
    first = text.split("\n", 1)[0]
    for other, word in SEPARATORS.items():
        if delimiter in first or other not in first:
            continue
        if _even(text, other):
            raise HarnessError(
                f"the columns of {name} are separated by {other!r}, not by {delimiter!r}: save it "
                f"with {SEPARATORS[delimiter]}s, or, as a prompt set, write "
                f"--prompts '{name}(separator={word})'"
            )


def _even(text: str, delimiter: str) -> bool:
    """Whether all rows have as many columns."""
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
        return len({len(row) for row in rows}) == 1
    except csv.Error:
        return False


_WHOLE = re.compile(r'"([^"]|"")*"')


def _unquoted(text: str, name: str, delimiter: str) -> Rows | None:
    """Rows of a table whose quotes are part of its texts; None where that is not plain: a field is
    quoted as a whole, or a line has more or fewer fields than the first."""
    lines = [line for line in io.StringIO(text, newline=None).read().split("\n") if line]
    fields = [line.split(delimiter) for line in lines]
    if len({len(row) for row in fields}) > 1 or len(fields[0]) < 2:
        return None
    if any(_WHOLE.fullmatch(field.strip()) for row in fields for field in row):
        return None
    header = _header(fields[0], name)
    return [dict(zip(header, row, strict=True)) for row in fields[1:]]


def _quoted(content: str, name: str, delimiter: str) -> Rows:
    text = io.StringIO(content, newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    rows: Rows = []
    header: list[str] = []
    for fields in _csv_rows(reader, name):
        if not header:
            header = _header(fields, name)
        elif len(fields) != len(header):
            raise HarnessError(
                f"{name}, line {reader.line_num}: {len(fields)} fields, but the first row names "
                f"{len(header)} columns. Put a text that holds the delimiter, a quote or a line "
                'break in "quotes"'
            )
        else:
            rows.append(dict(zip(header, fields, strict=True)))
    return rows


def _csv_rows(reader: Any, name: str) -> Iterator[list[str]]:
    try:
        yield from (fields for fields in reader if fields)
    except csv.Error as error:
        raise HarnessError(
            f"{name}, line {reader.line_num}: {error}. In a text that opens with a quote, every "
            'quote is written twice and the whole stands in "quotes"'
        ) from None


def _header(fields: list[str], name: str) -> list[str]:
    header = [field.strip() for field in fields]
    if repeated := sorted({column for column in header if header.count(column) > 1}):
        raise HarnessError(
            f"{name} names the column {repeated[0]!r} twice: rename one (the first row of a table "
            "names its columns)"
        )
    return header


def _json(data: bytes, name: str) -> Rows:
    text = decode(data, name)
    if not text.strip():
        return []
    content = parse_json(text, name)
    if isinstance(content, dict) and (rows := _by_key(content)):
        return rows
    if not isinstance(content, list):
        raise HarnessError(
            f"{name} holds {_kind(content)}: expected a list of texts or of objects with a prompt, "
            "or an object with one for each id"
        )
    return [_row(value, f"{name}, entry {at}") for at, value in enumerate(content, start=1)]


def _by_key(content: dict[str, Any]) -> Rows:
    """Rows of an object that has a text, or an object, for each id; none of any other."""
    if not content or {"prompt", "prompts", "caption", "text"} & content.keys():
        return []  # one prompt's own object, or lists
    if all(isinstance(value, str) for value in content.values()):
        return [{"id": key, "prompt": value} for key, value in content.items()]
    if all(isinstance(value, dict) for value in content.values()):
        return [{"id": key, **value} for key, value in content.items()]
    return []


def _jsonl(data: bytes, name: str) -> Rows:
    lines = io.StringIO(decode(data, name), newline=None)
    return [
        _row(parse_json(line, f"{name}, line {at}"), f"{name}, line {at}")
        for at, line in enumerate(lines, start=1)
        if line.strip()
    ]


def parse_json(text: str, where: str) -> Any:
    """The value that `text` holds; `where` opens the message of the error if it is no JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f" at line {error.lineno}, column {error.colno}"
        raise HarnessError(f"{where}: not JSON: {error.msg}{place}") from None
    except RecursionError:
        raise HarnessError(f"{where}: JSON nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise HarnessError(f"{where}: not JSON that can be read: {error}") from None


def _row(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, str):
        return {"prompt": value}
    if isinstance(value, dict):
        return value
    raise HarnessError(f"{where} is {_kind(value)}: expected a text or an object with a prompt")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    return names.get(type(value), "null" if value is None else "a number")


def _parquet(data: bytes, name: str) -> Rows:
    import pandas as pd

    try:
        frame = pd.read_parquet(io.BytesIO(data))
    except Exception as error:  # pyarrow's and pandas's own errors have no common base
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise HarnessError(f"{name} is not a readable Parquet file: {reason}") from None
    frame = frame.astype(object).where(frame.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


READERS: dict[str, Callable[[bytes, str], Rows]] = {
    ".txt": _text_lines,
    ".csv": partial(_delimited, delimiter=","),
    ".tsv": partial(_delimited, delimiter="\t"),
    ".tab": partial(_delimited, delimiter="\t"),
    ".json": _json,
    ".jsonl": _jsonl,
    ".jsonlines": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
}
