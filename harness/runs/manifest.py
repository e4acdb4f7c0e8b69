"""Prompt, seed and cost of imported images, from a table, a prompt set or the images' own rows."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError, unknown
from harness.core.shards import Prompt
from harness.prompts.base import load_prompts
from harness.prompts.columns import CATEGORY_COLUMNS, PROMPT_COLUMNS, label_of, text_of
from harness.prompts.readers import READERS, decode, read_rows, suffix_of
from harness.prompts.settings import warn_unread
from harness.runs.file_names import FILE_COLUMNS, FileNames, file_column, id_column
from harness.runs.prompt_names import named_prompts
from harness.store import files
from harness.store.image_files import Entry, Images
from harness.store.rows import ImportedItem

COST_COLUMNS = ("nfe", "cost")
_IDS = ("prompt_id",)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Declared:
    """A user's description of images: kept in `run.json`, and taken from there when left out.

    `prompts` is a prompt set, a file of prompts in the images' order, or a manifest: a table with a
    column of files (FILE_COLUMNS) and columns of prompts, seeds, ids, categories, costs. `manifest`
    is such a table and nothing else. `column` holds the prompts of either, `image_column` the
    images of Parquet. `paired`: images start from the same noise as other runs' at the same prompt
    and seed.
    """

    prompts: str | None = None
    manifest: str | None = None
    column: str | None = None
    image_column: str | None = None
    paired: bool | None = None


def describe(images: Images, declared: Declared) -> Iterator[ImportedItem]:
    """Prompt, seed and cost of every image, in the images' order; then rows without an image.

    A table gives them by the file's name: the manifest, a `metadata.csv`, `.jsonl` or `.parquet`
    beside the images, or the columns of their own Parquet. With a prompt set, its prompts are
    matched by their text, and give id, category and notes. A prompt set alone gives its prompts one
    after another, to files in the order in which people count (2.png before 10.png), one each; of
    a table that repeats texts, an image may be each row's. Seeds that are not given count the
    images of a prompt. Without any, an image is its own prompt, whose text is empty.
    """
    prompts, manifest = declared.prompts, declared.manifest
    if prompts is not None and manifest is None and _names_files(prompts, images):
        prompts, manifest = None, prompts
    rows = _table(images, manifest)
    if rows is not None and (manifest or _prompt_column(rows, None) or declared.column):
        named = manifest or images.path
        items = _from_table(images, rows, declared.column, named, by_text=prompts is not None)
        return _checked(_of_set(items, prompts) if prompts else items, named)
    if prompts is not None:
        return iter(_in_order(images, prompts, declared))
    return (ImportedItem(Prompt(entry.name, ""), 0, entry) for entry in images.entries)


def _names_files(path: str, images: Images) -> bool:
    """Whether a file of prompts names files: then it is matched by them, never by its order."""
    if suffix_of(path) not in READERS or not os.path.isfile(path):
        return False
    rows = read_rows(files.read_bytes(path), path)
    return file_column(rows) is not None or id_column(rows, images.entries) is not None


def _table(images: Images, manifest: str | None) -> list[dict[str, Any]] | None:
    """Rows with a file's name under "file", or the Parquet's own; None if there is no table."""
    if manifest is not None:
        rows = read_rows(files.read_bytes(_existing(manifest)), manifest)
        if not rows:
            raise HarnessError(f"{manifest} has no rows: expected one for each image")
        column = file_column(rows) or id_column(rows, images.entries)
        if column is None:
            listed = ", ".join(dict.fromkeys(key for row in rows for key in row)) or "none"
            raise HarnessError(
                f"{manifest} does not say which image is whose: expected a column "
                f"{' or '.join(FILE_COLUMNS[:5])}, found {listed}"
            )
        return [_with_file(row, column) for row in rows]
    sidecars = [row for name, data in images.sidecars() for row in _beside(images, name, data)]
    if sidecars:
        return sidecars
    if captions := dict(images.captions()):
        return _captioned(images, captions)
    columns = [{**entry.columns, "file": entry.name} for entry in images.entries]
    return columns if any(entry.columns for entry in images.entries) else None


def _with_file(row: dict[str, Any], column: str) -> dict[str, Any]:
    """A row whose file's name stands under "file"; a column of ids stays under its own, too."""
    kept = row if column.strip().lower() in _IDS else {k: v for k, v in row.items() if k != column}
    return {**kept, "file": row.get(column)}


def _existing(path: str) -> str:
    if not files.exists(path):
        raise HarnessError(f"there is no file {path}")
    return path


def _beside(images: Images, name: str, data: bytes) -> Iterator[dict[str, Any]]:
    """Rows of one of SIDECARS, whose file names are relative to its own folder."""
    folder = PurePosixPath(name).parent
    rows = read_rows(data, f"{images.path}: {name}")
    if len(rows) == 1 and file_column(rows) is None:  # of a folder of one prompt's images
        inside = "" if str(folder) == "." else f"{folder}/"
        here = [entry.name for entry in images.entries if entry.name.startswith(inside)]
        yield from ({**rows[0], "file": name} for name in here)
        return
    for row in rows:
        if "file_name" not in row:
            raise HarnessError(f"{images.path}: {name} has no column file_name")
        yield {**row, "file": str(folder / str(row["file_name"]))}


def _captioned(images: Images, captions: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """A row for each image, with the text that lies beside it."""
    texts = {
        str(PurePosixPath(name).with_suffix("")): decode(data, f"{images.path}: {name}").strip()
        for name, data in captions.items()
    }
    rows = []
    for entry in images.entries:
        stem = str(PurePosixPath(entry.name).with_suffix(""))
        if stem not in texts:
            raise HarnessError(
                f"{images.path}: {entry.name} has no {PurePosixPath(stem).name}.txt beside it, as "
                "other images have: write it, or give a table with the columns file,prompt,seed"
            )
        rows.append({"file": entry.name, "prompt": texts[stem]})
    return rows


def _column(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str | None:
    """The first of the usual names that the rows have as a column, in any case."""
    held = {key.strip().lower(): key for row in reversed(rows) for key in row}
    return next((held[name] for name in names if name in held), None)


def _prompt_column(rows: Sequence[Mapping[str, Any]], asked: str | None) -> str | None:
    """The column of prompts: the one asked for, or one of a usual name."""
    if asked is not None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        if asked not in columns:
            raise unknown("column", asked, columns)
        return asked
    return _column(rows, PROMPT_COLUMNS)


def _from_table(
    images: Images,
    rows: Sequence[dict[str, Any]],
    column: str | None,
    where: str,
    *,
    by_text: bool,
) -> list[ImportedItem]:
    """An item for each row of a table, in the images' order.

    Seeds that are not given count the images of an id or, with `by_text`, of a text.
    """
    text_column = _prompt_column(rows, column)
    if text_column is None:
        listed = ", ".join(dict.fromkeys(key for row in rows for key in row if key != "file"))
        raise HarnessError(
            f"{where}: no column is called like the prompt ({', '.join(PROMPT_COLUMNS)}), found "
            f"{listed}. Name it with --column"
        )
    columns = {
        "id": _column(rows, _IDS),
        "category": _column(rows, CATEGORY_COLUMNS),
        "seed": _column(rows, ("seed",)),
        "nfe": _column(rows, COST_COLUMNS),
    }
    read = ["file", text_column, *(name for name in columns.values() if name)]
    warn_unread(where, (key for row in rows for key in row), read)
    names, counts = FileNames(images.entries), Counter[str]()
    items: list[ImportedItem] = []
    absent: list[str] = []
    for at, row in _once(rows, read, where):
        place = f"{where}, row {at}"
        text = text_of(row, text_column, place)
        key = label_of(row, columns["id"] or "", place)
        key = key or f"text-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        seed = _whole(row.get(columns["seed"] or ""), f"{place}: the seed")
        counted = text if by_text else key
        seed = counts[counted] if seed is None else seed
        counts[counted] += 1
        if (entry := _named(names, row["file"], place)) is None:
            absent.append(f"{row['file']}")
        items.append(
            ImportedItem(
                Prompt(key, text, label_of(row, columns["category"] or "", place)),
                seed,
                entry,
                _whole(row.get(columns["nfe"] or ""), f"{place}: the cost"),
            )
        )
    ordered = _ordered(images, items, where, absent)
    if absent:
        log.warning(
            "%d of %d images that %s names are not in %s, and count as failed: %s",
            len(absent), len(items), where, images.path, _first(absent),
        )  # fmt: skip
    return ordered


def _once(
    rows: Sequence[dict[str, Any]], read: Sequence[str], where: str
) -> list[tuple[int, dict[str, Any]]]:
    """The rows, with their places from 1, that differ in a column that is read: a table may have a
    row for each question about an image."""
    distinct: dict[str, tuple[int, dict[str, Any]]] = {}
    for at, row in enumerate(rows, start=1):
        own = None if row["file"] else at  # rows without a file are images of their own
        distinct.setdefault(repr([own, *(row.get(name) for name in read)]), (at, row))
    if len(distinct) < len(rows):
        log.warning(
            "%s: %d rows say %d different things of images: equal ones count once",
            where, len(rows), len(distinct),
        )  # fmt: skip
    return [*distinct.values()]


def _named(names: FileNames, given: Any, place: str) -> Entry | None:
    try:
        return names.find(given)
    except HarnessError as error:
        raise HarnessError(f"{place}: {error}") from None


def _first(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(map(repr, names[:most])) + (", ..." if len(names) > most else "")


def _whole(value: Any, what: str) -> int | None:
    """A whole number from 0 on, as a number or text; None for nothing."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value)
        if isinstance(value, bool) or number != int(number) or number < 0:
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        raise HarnessError(f"{what} is {value!r}, expected a whole number from 0 on") from None
    return int(str(value)) if str(value).strip().isdigit() else int(number)


def _ordered(
    images: Images, items: list[ImportedItem], where: str, absent: Sequence[str]
) -> list[ImportedItem]:
    """The items in the images' order, then those without an image; warns of images left out."""
    by_name: dict[str, ImportedItem] = {}
    for item in items:
        if item.entry and by_name.setdefault(item.entry.name, item) is not item:
            raise HarnessError(f"{where} names the image {item.entry.name!r} twice")
    left = [entry.name for entry in images.entries if entry.name not in by_name]
    if not by_name:
        raise HarnessError(
            f"{where} names none of the images of {images.path}: there is no {absent[0]!r}, there "
            f"is {left[0]!r}. Files are matched by the end of their path. If its rows are in the "
            "images' order, leave the column of files out"
        )
    if left:
        log.warning(
            "%d of %d images of %s are left out: %s does not name them (%r, ...)",
            len(left), len(images), images.path, where, left[0],
        )  # fmt: skip
    here = [by_name[entry.name] for entry in images.entries if entry.name in by_name]
    return here + [item for item in items if item.entry is None]


def _of_set(items: Sequence[ImportedItem], spec: str) -> list[ImportedItem]:
    """The items with the set's own prompt for their text."""
    chosen = load_prompts(spec)
    by_text: dict[str, Prompt] = {}
    for prompt in chosen.prompts:
        by_text.setdefault(prompt.text, prompt)
    absent = [item.prompt.text for item in items if item.prompt.text not in by_text]
    if absent:
        raise HarnessError(
            f"{len(absent)} of {len(items)} images have a prompt that {spec} does not hold: "
            f"{absent[0][:80]!r}"
        )
    return [ImportedItem(by_text[i.prompt.text], i.seed, i.entry, i.nfe) for i in items]


def _checked(items: Sequence[ImportedItem], where: str) -> Iterator[ImportedItem]:
    """The items; raises HarnessError where ids or seeds of a prompt repeat."""
    texts: dict[str, str] = {}
    seen: dict[str, ImportedItem] = {}
    for item in items:
        key, text = item.prompt.id, item.prompt.text
        if texts.setdefault(key, text) != text:
            raise HarnessError(
                f"{where}: the prompt_id {key!r} stands for two texts: {texts[key][:60]!r} and "
                f"{text[:60]!r}"
            )
        if item.item_id in seen:
            raise HarnessError(
                f"{where}: two images of the prompt {text[:60]!r} have the seed {item.seed}"
            )
        seen[item.item_id] = item
    if (distinct := len({texts[key] or key for key in texts})) < len(texts):
        log.warning(
            "%s: %d prompt ids stand for %d texts: images of equal text count as one prompt's",
            where, len(texts), distinct,
        )  # fmt: skip
    return iter(items)


def _in_order(images: Images, spec: str, declared: Declared) -> list[ImportedItem]:
    """One prompt of a set, or row of its table, for each image, by the number in its name."""
    call = parse_call(spec) if not os.path.isfile(spec) else Call(spec)
    prompts = load_prompts(spec, column=declared.column)
    if named := named_prompts(images.entries, prompts.prompts, call.name):
        return _counted(images, named)
    by_text = {prompt.text: prompt for prompt in prompts.prompts}
    rows = [text for text in prompts.rows if text in by_text]
    texts = [*by_text] if len(images) == len(by_text) else rows
    if len(texts) != len(images):
        held = f"{len(by_text)} prompts" + (f" in {len(rows)} rows" * (len(rows) > len(by_text)))
        raise HarnessError(
            f"{call.name} holds {held}, but {images.path} holds {len(images)} "
            "images: which is whose? Give a table with the columns file,prompt,seed instead"
        )
    if declared.paired and len(texts) > len(by_text):
        raise HarnessError(
            f"{call.name} repeats texts, and images that are paired differ in prompt or seed: give "
            "a table with the columns file,prompt,seed instead"
        )
    ordered = sorted(images.entries, key=lambda entry: _as_counted(entry.name))
    both = zip(ordered, texts, strict=True)
    return _counted(images, {entry.name: by_text[text] for entry, text in both})


def _counted(images: Images, prompts: Mapping[str, Prompt]) -> list[ImportedItem]:
    """The images with their prompts; seeds count the images of a text, as people count."""
    counts = Counter[str]()
    items: dict[str, ImportedItem] = {}
    for entry in sorted(images.entries, key=lambda entry: _as_counted(entry.name)):
        prompt = prompts[entry.name]
        items[entry.name] = ImportedItem(prompt, counts[prompt.text], entry)
        counts[prompt.text] += 1
    return [items[entry.name] for entry in images.entries]


def _as_counted(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by value."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]
