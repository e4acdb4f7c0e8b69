"""A page of several samplers: a board of verdicts that can be sorted, pictures, the rest folded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.reporting import words
from harness.reporting.page import Page
from harness.store.results import Estimate

SIGNS = {
    "wins": "▲",
    "better": "▲",
    "loses": "▼",
    "worse": "▼",
    "undecided": "●",
    "equivalent": "≈",
    "best": "★",
    "tied": "☆",
}
"""Of verdicts, so that no verdict is told by its colour alone."""

_LONG = 12  # rows of a board that leave room for pictures on the first screen or near it


@dataclass(frozen=True)
class BoardCell:
    """A cell: `text` with `small` print below it, in the colour and with the sign of its `verdict`.

    `value` is what a column is sorted by, `told` what a resting pointer is told.
    """

    text: str
    small: str = ""
    verdict: str = ""
    value: float | str | None = None
    told: str = ""

    @property
    def sign(self) -> str:
        return SIGNS.get(self.verdict, "")


@dataclass(frozen=True)
class BoardRow:
    """A row; its first cell and those with a verdict lead to `link`, the page of its pairs."""

    cells: list[BoardCell]
    link: str | None = None


@dataclass(frozen=True)
class Board:
    """A table whose columns a click sorts; `declared` are the names of those that decide."""

    caption: str
    columns: list[str]
    rows: list[BoardRow]
    note: str = ""
    declared: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return bool(self.rows)


@dataclass(frozen=True)
class PictureGrid:
    """Pictures of one sampler by what was varied: `pictures` by choice, row and column, data URLs.

    `down` and `across` name the rows and columns; None is a picture that there is not.
    """

    title: str
    down: list[str]
    across: list[str]
    pictures: list[list[list[str | None]]]


@dataclass(frozen=True)
class Pictures:
    """Grids of pictures of the same prompt and seed, which are chosen among `choices`."""

    choices: list[str]
    grids: list[PictureGrid]
    note: str = ""

    def __bool__(self) -> bool:
        """Whether there is any picture."""
        return bool(self.choices and self.grids)


@dataclass(frozen=True)
class BoardPage(Page):
    """A report that begins with a board; its title is a headline, about it stand `over` and `lead`.

    `boards` and `front`, figures by their names, are shown; of a sweep (`look`) `pictures`, too,
    before a board that is long. All else is folded.
    """

    over: str = ""
    lead: str = ""
    boards: list[Board] = field(default_factory=list)
    folded: list[Board] = field(default_factory=list)
    front: frozenset[str] = frozenset()
    pictures: Pictures | None = None
    look: bool = False

    @property
    def looks_first(self) -> bool:
        """Whether pictures stand before the board."""
        return self.look and any(len(board.rows) > _LONG for board in self.boards)


def name_cell(name: str, small: str = "") -> BoardCell:
    """The first cell of a row."""
    return BoardCell(name, small, value=name.casefold())


def score_cell(score: Estimate | None, verdict: str = "", told: str = "") -> BoardCell:
    """A score with its interval below it; a dash where there is none."""
    if score is None or score.value is None:
        return BoardCell(words.NONE, told=(score.reason if score else None) or "")
    small = interval(score)
    return BoardCell(words.number(score.value), small, verdict, score.value, told)


def rate_cell(rate: Estimate, verdict: str, told: str = "") -> BoardCell:
    """A winning rate with its interval below it, in percent; where it is undefined, the reason."""
    if rate.value is None:
        return BoardCell(words.NONE, told=rate.reason or "")
    return BoardCell(words.percent(rate.value), words.bounds(rate), verdict, rate.value, told)


def count_cell(value: float | None) -> BoardCell:
    """A mean count."""
    return BoardCell(words.count(value), value=value)


def interval(estimated: Estimate, signed: bool = False) -> str:
    """The ends of an interval; empty without one."""
    if estimated.ends is None:
        return ""
    low, high = (words.number(end, signed) for end in estimated.ends)
    return f"[{low}, {high}]"


def legend(verdicts: Sequence[str]) -> str:
    """The signs of verdicts with their words, of those that occur."""
    return "  ".join(f"{SIGNS[one]} {one}" for one in SIGNS if one in verdicts)
