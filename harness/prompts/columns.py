"""Builds prompts from a file's rows: finds the columns of prompt, id and category."""

from __future__ import annotations

import logging
from typing import Any

from harness.core.errors import HarnessError, unknown
from harness.core.shards import Prompt
from harness.prompts.readers import Rows

log = logging.getLogger(__name__)

PROMPT_COLUMNS = ("prompt", "prompts", "caption", "captions", "text", "texts")
ID_COLUMNS = ("prompt_id", "id", "uid")
CATEGORY_COLUMNS = ("category", "tag")


def build_prompts(
    rows: Rows, *, name: str, stem: str, column: str | None = None, notes: bool = False
) -> tuple[Prompt, ...]:
    """Prompts of the rows whose prompt is not blank, in their order.

    Texts stay as they are, blanks at their ends included; ids and categories are stripped. Without
    an id column the id is `<stem>-<row>`, where `row` counts every row from 0, blank ones too: a
    prompt keeps its id when another row is emptied. With `notes`, all other columns become notes.

    `name` names the file in messages. `column` is the prompt's column; without it the one column
    with a usual name (PROMPT_COLUMNS, in any case) is taken. Raises HarnessError if there is no
    such column or several, or if a value is not text.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if not columns:
        return ()
    text_column, id_column, category_column = columns_read(columns, name, column)
    used = {text_column, id_column, category_column}
    prompts = []
    for at, row in enumerate(rows):
        where = f"{name}, row {at + 1}"
        text = text_of(row, text_column, where)
        if not text.strip():
            continue
        prompts.append(
            Prompt(
                id=label_of(row, id_column, where) if id_column else f"{stem}-{at:04d}",
                text=text,
                category=label_of(row, category_column, where) if category_column else "",
                notes={k: v for k, v in row.items() if k not in used} if notes else {},
            )
        )
        if not prompts[-1].id:
            raise HarnessError(f"{where}: its {id_column!r} is empty. Give every prompt an id")
    if len(prompts) < len(rows):
        log.info("%s: %d rows without a prompt left out", name, len(rows) - len(prompts))
    return tuple(prompts)


def columns_read(
    columns: list[str], name: str, column: str | None
) -> tuple[str, str | None, str | None]:
    """The columns of prompt, id and category; errors as of `build_prompts`."""
    text = _prompt_column(columns, name, column)
    return text, _first(columns, ID_COLUMNS, text), _first(columns, CATEGORY_COLUMNS, text)


def _prompt_column(columns: list[str], name: str, column: str | None) -> str:
    if column is not None:
        if column not in columns:
            raise unknown("column", column, columns, name)
        return column
    usual = [key for key in columns if key.strip().lower() in PROMPT_COLUMNS]
    if len(usual) == 1:
        return usual[0]
    problem = "several columns may be" if usual else "no column is called like"
    listed = usual or columns
    raise HarnessError(
        f"{name}: {problem} the prompt ({_listing(listed)}). Name it: "
        f"'{name}(column={(listed or columns)[0][:40]})'"
        + ("" if usual else "; the first row of a table must name its columns")
    )


def _first(columns: list[str], names: tuple[str, ...], taken: str) -> str | None:
    lower = {key.strip().lower(): key for key in reversed(columns) if key != taken}
    return next((lower[name] for name in names if name in lower), None)


def _listing(columns: list[str]) -> str:
    shown = [repr(key if len(key) <= 40 else key[:37] + "...") for key in columns[:12]]
    return ", ".join(shown) + (f" and {len(columns) - 12} more" if len(columns) > 12 else "")


def text_of(row: dict[str, Any], column: str, where: str) -> str:
    """A prompt's text as it stands; null is the empty text. `where` opens an error's message."""
    if column not in row:
        raise HarnessError(f"{where}: there is no {column!r}, which other rows have")
    value = row[column]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise HarnessError(f"{where}: {column!r} is {str(value)[:40]!r}, expected a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise HarnessError(
            f"{where}: {column!r} holds half a character (a lone surrogate) at {error.start}"
        ) from None
    return value


def label_of(row: dict[str, Any], column: str, where: str) -> str:
    """An id or a category: text or a whole number; nothing is the empty text."""
    value = row.get(column)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise HarnessError(
            f"{where}: {column!r} is {str(value)[:40]!r}, expected a text or a whole number"
        )
    return str(value).strip()
