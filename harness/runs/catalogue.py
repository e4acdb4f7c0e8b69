"""All runs below a folder, by names that people read, and a page that lists them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from harness.core.call import Call, show_value
from harness.core.errors import HarnessError
from harness.core.run_spec import RunSpec
from harness.reporting.board import Board, BoardCell, BoardPage, BoardRow, count_cell, name_cell
from harness.reporting.board_html import board_html
from harness.samplers.base import SAMPLERS
from harness.store import files
from harness.store.run import Run

COLUMNS = ["run", "sampler", "model", "prompts", "images", "scored on", "report", "folder"]
_PAGE = "index.html"
_REPORT = "report/index.html"
_SURVEY = "survey.json"
_DEPTH = 3  # <benchmark>/<model>/<run>


@dataclass(frozen=True)
class Listed:
    """A run of a catalogue: `report` and `folder` are below the catalogue's folder."""

    name: str
    sampler: str
    model: str
    prompts: str
    images: int
    scored: list[str]
    report: str | None
    folder: str

    @property
    def contents(self) -> list[str]:
        """How many images, and what they are scored on, as text."""
        return [f"{self.images:,}", ", ".join(self.scored) or "-"]

    def cells(self) -> list[str]:
        """The run as a row of COLUMNS."""
        about = [self.name, self.sampler, self.model, self.prompts]
        return [*about, *self.contents, self.report or "-", self.folder]


def run_name(spec: RunSpec) -> str:
    """A run's name for people: the sampler's title, and what differs from its own defaults."""
    call = spec.sampler
    if call.name not in SAMPLERS:
        return str(Call(call.name, call.params))
    found = SAMPLERS.get(call.name)
    own = {name: default for name, (_, default) in found.own.items()}
    shown = {k: v for k, v in call.params.items() if k == "guidance" or own.get(k) != v}
    parts = [f"{name} {show_value(value)}" for name, value in shown.items()]
    return ", ".join([found.title, *parts])


def catalogue(root: str) -> list[Listed]:
    """The runs below a folder, by prompts, model and name.

    Raises HarnessError where there is none.
    """
    found = [_listed(root, path) for path in _holding(root, "run.json")]
    if not found:
        raise HarnessError(f"there is no run below {root}: harness bench and generate make some")
    return sorted(found, key=lambda one: (one.prompts, one.model, one.name, one.folder))


def write_catalogue(root: str) -> str:
    """Write `index.html`, a page of the runs below a folder and their reports; its path."""
    runs = catalogue(root)
    boards = [board for board in (_surveys(root), _runs(runs)) if board]
    page = BoardPage(
        f"Runs in {os.path.basename(root.rstrip('/')) or root}",
        [],
        lead=f"{len(runs):,} runs; a name that is underlined leads to its report.",
        boards=boards,
    )
    files.write_text(where := files.join(root, _PAGE), board_html(page))
    return where


def _runs(runs: list[Listed]) -> Board:
    rows = []
    for one in runs:
        texts = [_text(text) for text in (one.model, one.prompts)]
        more = [_text(text) for text in (one.contents[1], one.folder)]
        cells = [name_cell(one.name), *texts, count_cell(one.images), *more]
        rows.append(BoardRow(cells, one.report))
    return Board("Runs", ["run", "model", "prompts", "images", "scored on", "folder"], rows)


def _text(text: str) -> BoardCell:
    return BoardCell(text, value=text.casefold())


def _surveys(root: str) -> Board:
    """The surveys and sweeps below a folder, by their titles."""
    rows = []
    for path in _holding(root, _SURVEY):
        title = str(files.read_json(files.join(root, path, _SURVEY)).get("title") or path)
        rows.append(BoardRow([name_cell(title), _text(path)], f"{path}/{_PAGE}"))
    return Board("Several samplers in one table", ["survey", "folder"], rows)


def _listed(root: str, path: str) -> Listed:
    run = Run.open(files.join(root, path))
    report = f"{path}/{_REPORT}" if files.exists(files.join(run.path, _REPORT)) else None
    names = run.shards()
    count = run.read_all("images", names, ["item_id"]).table.num_rows if names else 0
    scored = files.list_files(files.join(run.path, "scores"), "")
    spec, prompts = run.spec, path.split("/")[0] if "/" in path else "-"
    name = run_name(spec)
    return Listed(name, spec.sampler.name, spec.model, prompts, count, scored, report, path)


def _holding(root: str, name: str) -> list[str]:
    """The folders below `root`, at most `_DEPTH` down, that hold a file of this name."""
    found = []
    level = [""]
    for _ in range(_DEPTH + 1):
        here = [path for path in level if files.exists(files.join(root, path, name))]
        found += here
        level = [
            f"{path}/{inner}".lstrip("/")
            for path in level
            if path not in here
            for inner in files.list_files(files.join(root, path), "")
            if files.is_folder(files.join(root, path, inner))
        ]
    return [path for path in found if path]
