"""The parts of a report, independent of its format: Page, Section, Table, Verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from harness.reporting import words
from harness.reporting.drawing import Drawing
from harness.store.comparison_tables import MetricInfo

if TYPE_CHECKING:
    from harness.reporting.first_screen import FirstScreen


@dataclass(frozen=True)
class RowGroup:
    """Rows under a heading of their own; the first cell of a row names it."""

    title: str
    rows: list[list[str]]


@dataclass(frozen=True)
class Table:
    """A table of text. All columns but the first are numbers, unless named in `prose`.

    `wide` names the columns that a terminal has no room for, `links` leads from a row's first cell
    to another page.
    """

    caption: str
    columns: list[str]
    groups: list[RowGroup]
    note: str = ""
    prose: frozenset[str] = frozenset()
    wide: frozenset[str] = frozenset()
    links: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return bool(self.groups)

    def apart(self, ending: str = "") -> list[Table]:
        """A table for each group, its caption the group's title and `ending`."""
        return [replace(self, caption=one.title + ending, groups=[one]) for one in self.groups]


def by_metric(
    metrics: Iterable[MetricInfo], rows: Callable[[MetricInfo], list[list[str]]]
) -> list[RowGroup]:
    """A group for each metric that has any rows."""
    groups = (RowGroup(words.label(metric), rows(metric)) for metric in metrics)
    return [group for group in groups if group.rows]


@dataclass(frozen=True)
class Section:
    """Figures and tables, under a heading if there is one.

    `details` are tables that are folded away at first, `commands` what reproduces it all.
    """

    title: str
    tables: list[Table] = field(default_factory=list)
    figures: list[Drawing] = field(default_factory=list)
    details: list[Table] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """The verdict of one comparison: a `line` on the first metric, and the `others`."""

    setting: str
    verdict: str
    line: str
    others: str = ""
    primary: bool = False

    @property
    def where(self) -> str:
        return self.setting + (", primary result" if self.primary else "")


@dataclass(frozen=True)
class Viewer:
    """The viewer of image pairs: JSON-like `data` (null without runs), `absence`, first metric."""

    data: dict[str, Any] | None
    absence: str | None
    headline: str


@dataclass(frozen=True)
class Page:
    """A report. `lines` are sentences beside the verdicts, `links` other reports' folders by text.

    With a screen to see `first`, verdicts and sentences are folded away on it. `html` and `text`
    are the names of its files below a folder; beside the first lie `figures/` and `files`, texts by
    name.
    """

    title: str
    sections: list[Section]
    verdicts: list[Verdict] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    subtitle: str = ""
    first: FirstScreen | None = None
    viewer: Viewer | None = None
    files: dict[str, str] = field(default_factory=dict)
    html: str = "index.html"
    text: str = "report.md"

    @property
    def place(self) -> str:
        """The folder of the page, with a slash, or nothing."""
        return self.html[: self.html.rfind("/") + 1]

    @property
    def drawings(self) -> list[Drawing]:
        """The figures on the page."""
        return [drawing for section in self.sections for drawing in section.figures]

    @property
    def exports(self) -> list[Drawing]:
        """Figures to be taken elsewhere: beside the page, not on it."""
        return [] if self.first is None else self.first.exports
