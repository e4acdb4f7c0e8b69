"""Figures of a comparison: bars of winning rates, and a map of them by category."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.reporting import words
from harness.reporting.drawing import (
    COLOURS,
    INK,
    REST,
    SOFT,
    Drawing,
    bare,
    cut,
    new_figure,
    stacked_labels,
    tile,
    tiles,
)
from harness.store import files
from harness.store.comparison_tables import BEST_OF, ComparisonTables, MetricInfo
from harness.store.results import Result
from harness.store.survey_table import Rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_TEXT = 102.0
_HATCHES = ("", "///", "...", "xxx", "\\\\\\", "---")
_LOSS, _WIN = "#D55E00", "#0072B2"


def winning_rate_bars(comparison: ComparisonTables) -> Drawing:
    """A bar for each metric and comparison: winning rate, interval, and the 50 % line."""
    entries = {
        words.label(metric): {
            role: comparison.rate(role, metric.name) for role in comparison.baselines
        }
        for metric in comparison.metrics
    }
    names = words.run_names(comparison)
    legend = {
        role: f"{cut(words.setting(role), 40)}: vs {cut(names[role], 34)}"
        for role in comparison.baselines
    }
    paired = all(words.paired(comparison, role) for role in comparison.baselines)
    return rate_bars(
        entries,
        legend,
        f"How often the image of {comparison.candidate.sampler.name} scores better than the "
        f"baseline's {'from the same prompt and noise' if paired else 'of the same prompt'}, "
        f"in percent. {words.TIES_COUNT}. Whiskers: 95 % intervals over prompts; n: pairs."
        + (" Best of N: whatever the noise." if BEST_OF in comparison.runs else ""),
    )


def rate_bars(
    entries: Mapping[str, Mapping[str, Result | Rate]], legend: Mapping[str, str], caption: str
) -> Drawing:
    """Groups of bars: `entries` by group and comparison, `legend` by comparison."""
    looks = {
        role: (COLOURS[i % len(COLOURS)], _HATCHES[i % len(_HATCHES)])
        for i, role in enumerate(legend)
    }
    lines = sum(len(group) for group in entries.values())
    with new_figure(0.75 + 0.26 * lines + 0.13 * len(entries) + 0.17 * len(looks)) as figure:
        axes = figure.subplots()
        at, ticks = 0.0, []
        for label, group in entries.items():
            ticks.append((at + (len(group) - 1) / 2, label))
            for role, row in group.items():
                axes.barh(at, 100, height=0.78, color=REST)
                _bar(axes, at, row, *looks[role])
                at += 1
            at += 0.5
        _finish(axes, ticks, at - 0.5)
        _legend(figure, looks, legend)
    flat = [(label, role, row) for label, group in entries.items() for role, row in group.items()]
    return Drawing(
        "winning-rates", figure, f"Winning rates with intervals: {_spoken(flat)}", caption
    )


def category_map(comparison: ComparisonTables, metric: MetricInfo) -> Drawing | None:
    """Winning rates as a map, categories by comparisons; None without categories."""
    from matplotlib.colors import LinearSegmentedColormap

    rows = [row for row in comparison.results if row.metric == metric.name and row.category]
    if not rows:
        return None
    names = sorted({str(row.category) for row in rows})
    roles = list(comparison.baselines)
    colours = LinearSegmentedColormap.from_list("rates", [_LOSS, "#ffffff", _WIN])
    with new_figure(0.75 + 0.42 * len(names)) as figure:
        axes = figure.subplots()
        for row in rows:
            place = roles.index(row.comparison), names.index(str(row.category))
            _cell(axes, place, row, colours)
        settings = [textwrap.fill(cut(words.setting(r), 48), 16) for r in roles]
        tiles(axes, [""] * len(settings), [cut(name) for name in names], 9.5)
        stacked_labels(axes, "top", list(enumerate(settings)), 9.5)
    entries = [(str(row.category), row.comparison, row) for row in rows]
    return Drawing(
        files.file_name("categories", metric.name),
        figure,
        f"Winning rates by category: {_spoken(entries)}",
        f"Winning rate on {words.label(metric)} by category, in percent, over n pairs. Blue: the "
        "candidate is ahead, orange: behind. Framed, with a star: the 95 % interval leaves out 50.",
    )


def _cell(axes: Axes, place: tuple[int, int], row: Result, colours: Colormap) -> None:
    """One category and comparison: colour, rate, n, and a frame if the interval excludes 50 %."""
    x, y = place
    won, rate = row.winning_rate, row.winning_rate.value
    if rate is None:
        axes.text(x, y, words.NONE, ha="center", va="center", color=SOFT)
        return
    sure = won.ends is not None and not won.ends[0] <= 0.5 <= won.ends[1]
    tile(axes, place, colours(rate), sure, 1.6)
    ink = "#ffffff" if rate > 0.92 else INK
    text = f"{100 * rate:.0f}{' *' if sure else ''}"
    axes.text(x, y - 0.02, text, ha="center", va="bottom", color=ink, size=10)
    axes.text(x, y + 0.08, f"n {row.pairs:,}", ha="center", va="top", color=ink, size=7.5)


def _bar(axes: Axes, at: float, row: Result | Rate, colour: str, hatch: str) -> None:
    """One winning rate: bar, interval, and the same in text at the right."""
    won = row.winning_rate
    if won.value is None:
        axes.text(2, at, cut(str(won.reason), 60), va="center", color=SOFT, size=9)
        return
    value = 100 * won.value
    axes.barh(at, value, height=0.78, color=colour, hatch=hatch, edgecolor="#ffffff66", linewidth=0)
    if won.ends:
        low, high = (100 * end for end in won.ends)
        axes.plot([low, high], [at, at], color=INK, linewidth=1.3)
        for end in (low, high):
            axes.plot([end, end], [at - 0.18, at + 0.18], color=INK, linewidth=1.3)
    bounds = f" {words.bounds(won)}" if words.bounds(won) else ", no interval"
    text = f"{value:.1f}{bounds}, n {row.pairs:,}"
    axes.text(_TEXT, at, text, va="center", size=9.5, color=INK)


def _finish(axes: Axes, ticks: list[tuple[float, str]], bottom: float) -> None:
    axes.axvline(50, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set(xlim=(0, 100), ylim=(bottom - 0.4, -0.6), xticks=[0, 25, 50, 75, 100])
    labels = [(at, textwrap.fill(cut(label, 60), 22)) for at, label in ticks]
    axes.set_yticks([])
    axes.set_xlabel("winning rate, % (dashed: neither is better)", size=9, color=SOFT)
    axes.tick_params(length=0, labelsize=10)
    axes.tick_params("x", labelsize=9, labelcolor=SOFT)
    stacked_labels(axes, "left", labels, 10)
    bare(axes, "top", "right", "left")


def _legend(figure: Figure, looks: Mapping[str, tuple[str, str]], texts: Mapping[str, str]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(
            facecolor=colour,
            hatch=hatch,
            edgecolor="#ffffff66",
            linewidth=0,
            label=texts[role],
        )
        for role, (colour, hatch) in looks.items()
    ]
    figure.legend(
        handles=handles, loc="outside upper left", frameon=False, fontsize=9, handlelength=1.6
    )


def _spoken(entries: Sequence[tuple[str, str, Result | Rate]]) -> str:
    return "; ".join(
        f"{name}, {words.setting(r)}: {words.rate(row.winning_rate)}" for name, r, row in entries
    )
