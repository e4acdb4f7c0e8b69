"""The forest plot as a figure that is understood without its page: for a talk, for a paper."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.reporting import words
from harness.reporting.drawing import COLOURS, INK, SOFT, Drawing, bare, plain_figure
from harness.reporting.forest import Forest, ForestRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OF_VERDICT = {"wins": COLOURS[0], "loses": COLOURS[5]}
_LEADING = 1.25  # from line to line, in font sizes
_CHARACTER = 0.54  # mean width of one, in font sizes
_POINTS = 72  # an inch
_SMALLEST = 4.0


@dataclass(frozen=True)
class _Format:
    """A figure of this `width` in inches, and as high as it has to be, or `height`.

    Font sizes of title, text and small print; `parts` of the width for labels, plot and numbers.
    `stacked`: rate and verdict have a line each.
    """

    name: str
    caption: str
    kinds: tuple[str, ...]
    width: float
    height: float | None
    sizes: tuple[float, float, float]
    parts: tuple[float, float, float]
    margin: float
    family: str
    stacked: bool

    def smaller(self) -> _Format:
        large, text, small = self.sizes
        return replace(self, sizes=(0.97 * large, 0.92 * text, 0.94 * small))


_FORMATS = (
    _Format(
        "talk",
        "for a talk, 16:9",
        ("svg", "png"),
        40 / 3,
        7.5,
        (25, 17, 13),
        (0.32, 0.33, 0.35),
        0.55,
        "sans-serif",
        False,
    ),
    _Format(
        "column",
        "for a column of a paper",
        ("svg", "pdf"),
        3.35,
        None,
        (8.5, 7, 6),
        (0.33, 0.29, 0.38),
        0.04,
        "serif",
        True,
    ),
)


@dataclass(frozen=True)
class _Line:
    text: str
    size: float
    colour: str = INK
    weight: str = "normal"

    @property
    def height(self) -> float:
        """In inches."""
        return _LEADING * self.size / _POINTS


def exports(plot: Forest, title: str, about: str) -> list[Drawing]:
    """The plot at 16:9 for a talk (SVG, PNG) and one column of a paper wide (SVG, PDF)."""
    return [_drawing(plot, title, about, form) for form in _FORMATS]


def _drawing(plot: Forest, title: str, about: str, form: _Format) -> Drawing:
    large, text, small = form.sizes
    inner = form.width - 2 * form.margin
    head = [
        *_wrapped(f"{title[:1].upper()}{title[1:]}", inner, large, weight="bold"),
        *_wrapped(f"{about}.", inner, small, SOFT),
    ]
    foot = _wrapped(f"{plot.title}. {plot.note}", inner, small, SOFT)
    rows = [_cells(row, form, inner) for row in plot.rows]
    heights = [max(map(_height, cells)) + 0.8 * text / _POINTS for cells in rows]
    over, below = form.margin + _height(head) + 0.1, 2.6 * small / _POINTS + _height(foot)
    high = form.height or over + sum(heights) + below + form.margin
    room = (high - form.margin - over - below) / sum(heights)
    if room < 0.999 and small > _SMALLEST:
        return _drawing(plot, title, about, form.smaller())
    with plain_figure(form.width, high, form.family) as figure:
        paper = _Paper(figure, form, high)
        paper.write(head, form.margin, form.margin)
        paper.plot(plot, rows, [min(room, 1.4) * one for one in heights], over)
        paper.write(foot, form.margin, high - form.margin - _height(foot))
    rates = [f"{row.names[0]}: {words.rate(row.result.winning_rate)}" for row in plot.rows]
    spoken = "; ".join(rates)
    return Drawing(form.name, figure, f"{title}. {spoken}", form.caption, form.kinds)


def _wrapped(
    text: str, width: float, size: float, colour: str = INK, weight: str = "normal"
) -> list[_Line]:
    """Lines of about this width in inches."""
    characters = int(width * _POINTS / (_CHARACTER * size * (1.08 if weight == "bold" else 1)))
    return [_Line(line, size, colour, weight) for line in textwrap.wrap(text, characters)]


def _height(lines: Sequence[_Line]) -> float:
    return sum(line.height for line in lines)


def _cells(row: ForestRow, form: _Format, inner: float) -> tuple[list[_Line], list[_Line]]:
    """The lines at the left and at the right of a row."""
    _, text, small = form.sizes
    left, _, right = (part * inner for part in form.parts)
    result, weight = row.result, "bold" if row.result.primary else "normal"
    name = " = ".join(row.names) + (" (declared)" if row.result.primary else "")
    rate = words.rate(result.winning_rate)
    more = (
        f"{words.percent(result.decided_share)} of {result.pairs:,} decided, "
        f"evaluations {row.evaluations}"
    )
    if form.stacked:
        said = [
            *_wrapped(rate, right, text, weight=weight),
            *_wrapped(result.verdict, right, text, _colour(row), "bold"),
        ]
    else:
        said = _wrapped(f"{result.verdict}: {rate}", right, text, _colour(row), weight)
    return (
        [*_wrapped(name, left, text, weight=weight), *_wrapped(row.about, left, small, SOFT)],
        [*said, *_wrapped(more, right, small, SOFT)],
    )


def _colour(row: ForestRow) -> str:
    return _OF_VERDICT.get(row.result.verdict, SOFT)


@dataclass(frozen=True)
class _Paper:
    """A figure on which lines are written at places in inches from its upper left corner."""

    figure: Figure
    form: _Format
    high: float

    def write(self, lines: Sequence[_Line], x: float, y: float, **how: Any) -> None:
        for line in lines:
            self.figure.text(
                x / self.form.width,
                1 - (y + line.height / 2) / self.high,
                line.text,
                size=line.size,
                color=line.colour,
                weight=line.weight,
                va="center",
                **how,
            )
            y += line.height

    def plot(
        self,
        plot: Forest,
        rows: Sequence[tuple[list[_Line], list[_Line]]],
        heights: Sequence[float],
        over: float,
    ) -> None:
        """The rows below `over`, each with its lines at both sides of one pair of axes."""
        form = self.form
        left, middle, _ = (part * (form.width - 2 * form.margin) for part in form.parts)
        gap, whole = 0.12 * form.sizes[1] / 7, sum(heights)
        axes = self.figure.add_axes(
            (
                (form.margin + left + gap) / form.width,
                1 - (over + whole) / self.high,
                (middle - 2 * gap) / form.width,
                whole / self.high,
            )
        )
        axes.axvline(50, color="#b5b3ac", linewidth=form.sizes[1] / 9, linestyle=(0, (4, 3)))
        top = 0.0
        for row, cells, height in zip(plot.rows, rows, heights, strict=True):
            for lines, x in zip(cells, (0.0, left + middle), strict=True):
                self.write(lines, form.margin + x, over + top + (height - _height(lines)) / 2)
            self._mark(axes, row, top + height / 2)
            top += height
        ends = [100 * (0.5 + sign * plot.reach) for sign in (-1, 0, 1)]
        axes.set(xlim=(ends[0], ends[-1]), ylim=(whole, 0), yticks=[])
        axes.set_xticks(ends, [f"{end:.0f}{words.SPACE}%" for end in ends])
        axes.tick_params(length=2, color="#bbb", labelsize=form.sizes[2], labelcolor=SOFT)
        bare(axes, "top", "right", "left")

    def _mark(self, axes: Any, row: ForestRow, y: float) -> None:
        """The interval as a line, the rate as a dot; nothing where there is none."""
        rate, size = row.result.winning_rate, self.form.sizes[1]
        if rate.ends:
            ends = [100 * end for end in rate.ends]
            axes.plot(ends, [y, y], color=_colour(row), linewidth=size / 5, clip_on=False)
        if rate.value is not None:
            axes.plot(
                100 * rate.value, y, "o", color=_colour(row), markersize=size / 1.6, clip_on=False
            )
