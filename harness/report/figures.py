"""Figures as inline SVG: winning-rate bars and winning rates by category."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.report import words
from harness.store.comparison import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart with every common kind of colour vision.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_REST, _INK, _SOFT = "#EDECE8", "#1b1b1b", "#6b6b6b"
_WIDTH = 5.7
_TEXT = 102.0


def winning_rate_bars(comparison: Comparison) -> str:
    """A bar a metric and comparison up to the winning rate, its interval, and the 50 % line."""
    entries = [
        (words.label(metric), role, comparison.rate(role, metric.name))
        for metric in comparison.metrics
        for role in comparison.baselines
    ]
    with _figure(len(entries), len(comparison.metrics)) as (figure, axes):
        colours = _colours(comparison)
        at, ticks = 0.0, []
        for index, (label, role, row) in enumerate(entries):
            if index % len(colours) == 0:
                at += 0.5 * (index > 0)
                ticks.append((at + (len(colours) - 1) / 2, label))
            axes.barh(at, 100, height=0.78, color=_REST)
            _value(axes, at, row, colours[role], bar=True)
            at += 1
        _finish(axes, ticks, at)
        _legend(figure, axes, comparison, bar=True)
    return _svg(figure, f"Winning rates with intervals: {_spoken(entries)}", "bars")


def category_dots(comparison: Comparison, metric: str) -> str | None:
    """A dot with interval a category and comparison on one metric; None without categories."""
    rates = comparison.rates
    rows = rates[(rates["metric"] == metric) & rates["category"].notna()]
    if rows.empty:
        return None
    names = sorted(rows["category"].unique())
    entries = [
        (str(name), str(row["comparison"]), row)
        for name in names
        for _, row in rows[rows["category"] == name].iterrows()
    ]
    with _figure(len(entries), len(names)) as (figure, axes):
        colours = _colours(comparison)
        at, ticks = 0.0, []
        for name in names:
            part = [entry for entry in entries if entry[0] == name]
            ticks.append((at + (len(part) - 1) / 2, _cut(str(name))))
            for _, role, row in part:
                _value(axes, at, row, colours[role], bar=False)
                at += 1
            at += 0.5
        _finish(axes, ticks, at - 0.5)
        _legend(figure, axes, comparison, bar=False)
    return _svg(figure, f"Winning rates by category: {_spoken(entries)}", "categories")


def _cut(text: str, limit: int = 26) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _colours(comparison: Comparison) -> dict[str, str]:
    return {role: COLOURS[i % len(COLOURS)] for i, role in enumerate(comparison.baselines)}


@contextmanager
def _figure(lines: int, groups: int) -> Iterator[tuple[Figure, Axes]]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = {
        "font.family": "serif",
        "font.size": 10,
        "text.parse_math": False,
    }
    with mpl.rc_context(settings):
        height = 0.85 + 0.26 * lines + 0.13 * groups
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        yield figure, figure.subplots()


def _value(axes: Axes, at: float, row: pd.Series, colour: str, bar: bool) -> None:
    """One winning rate: bar or dot, interval, and the same in text at the right."""
    if words.missing(row["winning_rate"]):
        axes.text(2, at, _cut(str(row["reason"]), 60), va="center", color=_SOFT, size=9)
        return
    value = 100 * row["winning_rate"]
    if bar:
        axes.barh(at, value, height=0.78, color=colour)
    if not words.missing(row["low"]):
        low, high = 100 * row["low"], 100 * row["high"]
        ink = _INK if bar else colour
        axes.plot([low, high], [at, at], color=ink, linewidth=1.3 if bar else 1.8)
        for end in (low, high):
            axes.plot([end, end], [at - 0.18, at + 0.18], color=ink, linewidth=1.3)
    if not bar:
        axes.plot([value], [at], "o", color=colour, markersize=5.5)
    axes.text(_TEXT, at, _short(row), va="center", size=9.5, color=_INK)


def _short(row: pd.Series) -> str:
    value = f"{100 * row['winning_rate']:.1f}"
    if words.missing(row["low"]):
        return f"{value}, no interval, n {row['pairs']:,}"
    return f"{value} [{100 * row['low']:.1f}, {100 * row['high']:.1f}], n {row['pairs']:,}"


def _finish(axes: Axes, ticks: list[tuple[float, str]], bottom: float) -> None:
    axes.axvline(50, color=_INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom - 0.4, -0.6)
    axes.set_yticks([at for at, _ in ticks], [label for _, label in ticks])
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_xlabel("winning rate, % (dashed: neither is better)", size=9, color=_SOFT)
    axes.tick_params(length=0, labelsize=10)
    axes.tick_params("x", labelsize=9, labelcolor=_SOFT)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#bbb")


def _legend(figure: Figure, axes: Axes, comparison: Comparison, bar: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    names = words.run_names(comparison)
    handles = [
        Patch(color=colour, label=f"{words.setting(role)}: vs {_cut(names[role], 30)}")
        if bar
        else Line2D([], [], color=colour, marker="o", label=words.setting(role))
        for role, colour in _colours(comparison).items()
    ]
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=2,
        frameon=False,
        fontsize=9,
        handlelength=1.2,
    )


def _spoken(entries: list[tuple[str, str, pd.Series]]) -> str:
    return "; ".join(f"{name}, {words.setting(r)}: {words.rate(row)}" for name, r, row in entries)


def _svg(figure: Figure, label: str, salt: str) -> str:
    """The figure as an `<svg>` element without any address in it, its ids made unique."""
    import matplotlib as mpl

    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{salt}-", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)
