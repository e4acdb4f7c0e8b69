"""Prompt sets: by registered name, or from a user's file."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError, unknown
from harness.core.registry import Registry
from harness.core.shards import Prompt
from harness.fetch.download import Obtained, PublicFile, read_url
from harness.prompts.columns import build_prompts, columns_read
from harness.prompts.items import read_items, with_items
from harness.prompts.merging import differing_notes, merged
from harness.prompts.readers import (
    READERS,
    Rows,
    read_rows,
    reader_of,
    separated_by,
    suffix_of,
)
from harness.prompts.settings import warn_settings, warn_unread
from harness.prompts.split import in_split

log = logging.getLogger(__name__)


def identity(prompts: Iterable[Prompt]) -> str:
    """sha256 over ids, texts, categories and notes, in order: equal for equal prompts only."""
    rows = [[p.id, p.text, p.category, p.notes] for p in prompts]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class PromptSet:
    """Ordered prompts, at least one, with unique ids. `source` is a URL or a path.

    `rows` are the texts of the table's rows in order, repeated ones (see merging.py) included.
    """

    name: str
    prompts: tuple[Prompt, ...]
    source: str
    licence: str = ""
    citation: str = ""
    rows: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.prompts:
            raise HarnessError(f"{self.source} holds no prompts")
        counts = Counter(prompt.id for prompt in self.prompts)
        repeated = [key for key, count in counts.items() if count > 1]
        if repeated:
            more = f" (and {len(repeated) - 1} more ids)" if len(repeated) > 1 else ""
            raise HarnessError(
                f"{self.source}: the id {repeated[0]!r} stands for {counts[repeated[0]]} prompts"
                f"{more}. Every prompt needs an id of its own"
            )

    @property
    def sha256(self) -> str:
        """See `identity`: names exactly these prompts."""
        return identity(self.prompts)

    @property
    def categories(self) -> dict[str, int]:
        """Number of prompts of each category, in order of appearance."""
        return dict(Counter(prompt.category for prompt in self.prompts))


@dataclass(frozen=True)
class PromptSource:
    """A registered prompt set: its metadata, its public files, and the parser of these files.

    `parse` turns the files' bytes, by file name, into prompts. `prompts` and `categories` are how
    many the files hold, before equal texts are merged; another number of prompts is an error.
    `sha256` is the `identity` of the set as papers use it, where that was computed; another
    identity is a warning.
    """

    name: str
    description: str
    home: str
    licence: str
    citation: str
    prompts: int
    categories: int
    parse: Callable[[Mapping[str, bytes]], Iterable[Prompt]]
    files: tuple[PublicFile, ...] = ()
    sha256: str = ""

    def load(self, folder: str | None = None, download: bool = True) -> PromptSet:
        """The set, out of `folder`, the cache, or its public home; see `PublicFile.read`."""
        if folder is not None and not self.files:
            raise HarnessError(f"prompt set {self.name!r} is embedded: it takes no prompts folder")
        obtained = [file.read(folder, downloads=download) for file in self.files]
        prompts = self._parsed(obtained)
        for file in obtained:
            file.keep()
        return prompts

    @property
    def location(self) -> str:
        """The folder in the cache, `embedded`, or `not downloaded`."""
        if not self.files:
            return "embedded"
        here = all(file.path.is_file() for file in self.files)
        return str(self.files[0].path.parent) if here else "not downloaded"

    def _parsed(self, obtained: list[Obtained]) -> PromptSet:
        origin = ", ".join(each.origin for each in obtained) or self.home
        try:
            prompts = tuple(self.parse({each.file.name: each.data for each in obtained}))
        except HarnessError as error:
            raise HarnessError(f"prompt set {self.name!r} from {origin}: {error}") from None
        if len(prompts) != self.prompts:
            raise HarnessError(
                f"prompt set {self.name!r} has {self.prompts} prompts, but {origin} holds "
                f"{len(prompts)}: this is not the published file. To use it as it is, give its path"
            )
        texts = tuple(prompt.text for prompt in prompts)
        distinct = merged(prompts, self.name)
        loaded = PromptSet(self.name, distinct, self.home, self.licence, self.citation, texts)
        if self.sha256 and loaded.sha256 != self.sha256:
            log.warning(
                "%s differs from the set as papers use it: sha256 %s, expected %s (from %s)",
                self.name, loaded.sha256[:12], self.sha256[:12], origin,
            )  # fmt: skip
        return loaded


PROMPT_SETS: Registry[PromptSource] = Registry("prompt set", "harness.prompts")


def register(source: PromptSource) -> PromptSource:
    """Add a prompt set to the registry, under its name."""
    return PROMPT_SETS.add(source.name, source)


def read_table(
    files: Mapping[str, bytes],
    name: str,
    *,
    stem: str,
    column: str | None = None,
    notes: bool = False,
    rows: int | None = None,
) -> tuple[Prompt, ...]:
    """The prompts of the first `rows` rows (default: all) of the table `name` among a set's files.

    `stem`, `column` and `notes` are those of `build_prompts`.
    """
    table = read_rows(files[name], name)[:rows]
    return build_prompts(table, name=name, stem=stem, column=column, notes=notes)


def load_prompts(
    spec: str,
    *,
    limit: int | None = None,
    column: str | None = None,
    folder: str | None = None,
    download: bool = True,
) -> PromptSet:
    """The distinct prompts that `spec` names, the first `limit` of them.

    `spec` is a registered name, or a path or URL (http, or any that fsspec opens) of a `.txt` (one
    prompt a line), `.csv`, `.tsv`, `.json`, `.jsonl` or `.parquet` file; `PATH(column=NAME)` names
    the prompt's column, as `column` does; `PATH(separator=semicolon)` says what separates a table's
    columns. A file NAME_item.json beside a local NAME.json holds the prompts' target objects
    (items.py). `folder` holds the public files of a registered set,
    instead of cache and download; `download=False` forbids downloads of these.
    `SPEC(split=dev)` or `split=test` are the prompts of one split (split.py), under a name of their
    own, so that results of the two never mix; `limit` counts in the split.

    Raises HarnessError for a file that is missing or invalid; for columns see `build_prompts`.
    """
    if limit is not None and limit < 1:
        raise HarnessError(f"limit {limit}: at least one prompt is needed")
    call, split = _parsed(spec)
    if call.name in PROMPT_SETS:
        loaded = _registered(call, column, folder, download)
    else:
        loaded = _from_file(call, column, folder)
    if split is not None:
        kept = in_split(loaded.prompts, split, call.name)
        loaded = replace(loaded, name=f"{loaded.name}-{split}", prompts=kept)
    return replace(loaded, prompts=loaded.prompts[:limit])


def _parsed(spec: str) -> tuple[Call, str | None]:
    """The prompt set's name with its parameters, and the requested split, if any."""
    call = Call(spec) if os.path.isfile(spec) else parse_call(spec)
    params = {key: value for key, value in call.params.items() if key != "split"}
    split = call.params.get("split")
    return Call(call.name, params), None if split is None else str(split)


def describe() -> list[dict[str, Any]]:
    """The registered prompt sets in order of name, a dict each: name, description, prompts and
    categories (counts), home, licence, citation, location (see `PromptSource.location`)."""
    fields = ("name", "description", "prompts", "categories", "home", "licence", "citation")
    return [
        {**{key: getattr(source, key) for key in fields}, "location": source.location}
        for _, source in PROMPT_SETS
    ]


def _registered(call: Call, column: str | None, folder: str | None, download: bool) -> PromptSet:
    options = [*call.params, *(["column"] if column is not None else [])]
    if options:
        raise HarnessError(
            f"prompt set {call.name!r} takes no {options[0]!r}: it is read as published. "
            "To read a file of yours, give its path"
        )
    return PROMPT_SETS.get(call.name).load(folder, download)


def _from_file(call: Call, column: str | None, folder: str | None) -> PromptSet:
    path = call.name
    for key in call.params:
        if key not in ("column", "separator"):
            raise unknown("parameter", key, ["column", "separator", "split"], path)
    if column is None and "column" in call.params:
        column = str(call.params["column"])
    is_url = "://" in path
    name = PurePosixPath(path.split("?")[0] if is_url else path.replace("\\", "/")).name
    if not is_url and suffix_of(name) not in READERS and not os.path.exists(path):
        raise HarnessError(
            f"{unknown('prompt set', path, PROMPT_SETS.names())}; "
            f"or give a file ending in {', '.join(READERS)}"
        )
    reader = reader_of(name)
    if "separator" in call.params:
        reader = _separated(call.params["separator"], path, name)
    if folder is not None:
        raise HarnessError(f"a prompts folder is for registered prompt sets; {path} is a file")
    rows = reader(read_url(path) if is_url else _read_path(path), name)
    stem = PurePosixPath(name).stem
    notes = suffix_of(name) in (".json", ".jsonl", ".jsonlines", ".ndjson")
    built = build_prompts(rows, name=path, stem=stem, column=column, notes=True)
    _warn_of_columns(rows, path, column, () if notes else differing_notes(built), notes)
    prompts = merged(built, path, notes=notes)
    beside = Path(path).expanduser().with_name(f"{stem}_item.json")
    if not is_url and beside.is_file():
        prompts = with_items(prompts, read_items(beside.read_bytes(), str(beside)), str(beside))
    return PromptSet(stem, prompts, path, rows=tuple(prompt.text for prompt in built))


def _separated(separator: Any, path: str, name: str) -> Callable[[bytes, str], Rows]:
    if suffix_of(name) not in (".csv", ".tsv", ".tab"):
        raise HarnessError(f"{path} is no table with separators: leave out separator={separator}")
    return separated_by(str(separator))


def _warn_of_columns(
    rows: Rows, path: str, column: str | None, told: Iterable[str], notes: bool
) -> None:
    """Name the columns that say how a row's picture is made, and those that nothing reads, but for
    those that are `told` of elsewhere."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    read = warn_settings(path, columns)
    if columns and not notes:
        used = [name for name in columns_read(columns, path, column) if name is not None]
        warn_unread(path, columns, {*read, *told, *used})


def _read_path(path: str) -> bytes:
    place = Path(path).expanduser()
    if not place.exists():
        here = os.listdir(place.parent) if place.parent.is_dir() else []
        close = difflib.get_close_matches(place.name, here, n=1)
        hint = f": did you mean {str(place.parent / close[0])!r}?" if close else ""
        raise HarnessError(f"there is no prompt file {path!r}{hint}")
    try:
        return place.read_bytes()
    except OSError as error:
        raise HarnessError(f"cannot read the prompt file {path!r}: {error.strerror}") from None
