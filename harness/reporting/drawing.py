"""Figures of a report as inline SVG, and as SVG, PDF and PNG files; helpers for drawing them."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from harness.store import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008): distinct with every common kind of colour vision.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, SOFT, REST = "#1b1b1b", "#6b6b6b", "#EDECE8"
WIDTH = 5.7  # inches: the text of a two-column page, and legible on a telephone

_STYLE: Any = {
    "font.family": "serif",
    "font.size": 10,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # publishers refuse Type 3 fonts
    "axes.edgecolor": "#bbb",
}


@dataclass(frozen=True)
class Drawing:
    """A figure by its file's name, with the numbers in it as `spoken` text, and a `caption`;
    `kinds` are the files that it is written to."""

    name: str
    figure: Figure
    spoken: str
    caption: str
    kinds: tuple[str, ...] = ("svg", "pdf")

    def inline(self) -> str:
        """As an `<svg>` element without any address in it, its ids made unique."""
        svg = self.svg.decode()
        svg = svg[svg.index("<svg") :]
        svg = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", svg)
        svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{self.name}-", svg)
        return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(self.spoken)}"', 1)

    @cached_property
    def svg(self) -> bytes:
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        return self._saved("svg", nothing, transparent=True)

    @cached_property
    def pdf(self) -> bytes:
        return self._saved("pdf", dict.fromkeys(("Creator", "Producer", "CreationDate")))

    @cached_property
    def png(self) -> bytes:
        return self._saved("png", {"Software": None}, dpi=144)

    def _saved(self, kind: str, metadata: dict[str, None], **how: Any) -> bytes:
        """The same bytes for the same figure."""
        import matplotlib as mpl

        buffer = io.BytesIO()
        style: Any = {**_STYLE, "svg.hashsalt": self.name}
        with mpl.rc_context(style):
            self.figure.savefig(buffer, format=kind, metadata=metadata, **how)
        return buffer.getvalue()


def write_drawings(drawings: Sequence[Drawing], folder: str) -> None:
    """Write each drawing to the folder, as files of its kinds."""
    for drawing in drawings:
        for kind in drawing.kinds:
            data = getattr(drawing, kind)
            files.write_bytes(files.join(folder, f"{drawing.name}.{kind}"), data)


@contextmanager
def new_figure(height: float, width: float = WIDTH) -> Iterator[Figure]:
    """A figure of this size in inches, in the report's style."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


@contextmanager
def plain_figure(width: float, height: float, family: str) -> Iterator[Figure]:
    """A figure of this size in inches, in which everything is placed by hand."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = {**_STYLE, "font.family": family}
    with mpl.rc_context(style):
        yield Figure(figsize=(width, height))


def cut(text: str, limit: int = 26) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def bare(axes: Axes, *sides: str) -> None:
    """Hide these sides of the frame (top, right, ...)."""
    axes.spines[[*sides]].set_visible(False)


def dress(axes: Axes) -> None:
    """Short grey ticks, and a frame of two sides."""
    axes.tick_params(length=3, color="#bbb", labelsize=9, labelcolor=SOFT)
    bare(axes, "top", "right")


def stacked_labels(
    axes: Axes, side: Literal["left", "top"], texts: Sequence[tuple[float, str]], size: float
) -> None:
    """Labels of one or several lines at these places of an axis, instead of its own.

    Each line is a text of its own: of several lines, SVG would keep the places that they have in a
    font that another machine may lack, and they would not be aligned.
    """
    left, lead = side == "left", 1.2 * size
    axes.tick_params("y" if left else "x", labelleft=False, labelbottom=False, labeltop=False)
    for at, text in texts:
        lines = text.split("\n")
        for number, line in enumerate(lines):
            down = number - (len(lines) - 1) / 2 if left else number - len(lines) + 1
            axes.annotate(
                line,
                (0, at) if left else (at, 1),
                (-5, -lead * down) if left else (0, 5 - lead * down),
                xycoords=axes.get_yaxis_transform() if left else axes.get_xaxis_transform(),
                textcoords="offset points",
                ha="right" if left else "center",
                va="center" if left else "bottom",
                size=size,
                annotation_clip=False,
            )


def tiles(axes: Axes, across: Sequence[str], down: Sequence[str], labels: float) -> None:
    """Axes for a grid of tiles, its columns and rows named in font size `labels`."""
    axes.set(xlim=(-0.5, len(across) - 0.5), ylim=(len(down) - 0.5, -0.5))
    axes.set_xticks(range(len(across)), across)
    axes.set_yticks(range(len(down)), down)
    axes.tick_params(length=0, labelsize=labels)
    bare(axes, *axes.spines)


def tile(axes: Axes, at: tuple[int, int], colour: Any, framed: bool, frame: float) -> None:
    """Draw the cell `at` (column, row) of the grid, if `framed` with a frame of width `frame`."""
    from matplotlib.patches import Rectangle

    corner, edge = (at[0] - 0.47, at[1] - 0.44), INK if framed else "none"
    cell = Rectangle(corner, 0.94, 0.88, facecolor=colour, edgecolor=edge, linewidth=frame)
    axes.add_patch(cell)


def log_ticks(
    axes: Axes, values: Sequence[float], apart: float, show: Callable[[float], str]
) -> None:
    """Ticks at those values that are at least `apart` times the one before."""
    from matplotlib.ticker import NullLocator

    shown: list[float] = []
    for value in sorted(values):
        if not shown or value > apart * shown[-1]:
            shown.append(value)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(shown, [show(value) for value in shown])
