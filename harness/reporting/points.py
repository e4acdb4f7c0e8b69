"""Scores of a survey's runs against cost, with Pareto fronts, and against varied parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from harness.reporting import words
from harness.reporting.drawing import (
    COLOURS,
    INK,
    MARKERS,
    SOFT,
    Drawing,
    cut,
    dress,
    log_ticks,
    new_figure,
    tile,
    tiles,
)
from harness.reporting.page import Table, by_metric
from harness.store import files
from harness.store.comparison_tables import MetricInfo
from harness.store.survey_table import Row, SurveyTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNITS = {
    "nfe": "network evaluations an image (NFE)",
    "macs": "multiply-accumulates an image",
    "seconds": "seconds an image",
}


def fronts(survey: SurveyTable, metrics: Sequence[MetricInfo] | None = None) -> Table:
    """A row a metric and run, by cost: its score, and whether it is on the Pareto front."""

    def rows(metric: MetricInfo) -> list[list[str]]:
        return [
            [
                row.label,
                words.count(row.nfe),
                words.macs(row.macs),
                words.seconds(row.seconds),
                _score(row, metric),
                _standing(row, metric),
                row.scores[metric.name].standing or words.NONE,
            ]
            for row in sorted(_scored(survey, metric), key=lambda row: _cost(survey, row))
        ]

    return Table(
        "Score against cost",
        [
            "run",
            "NFE",
            "MACs",
            "seconds an image",
            "score",
            "on the Pareto front",
            "among all",
        ],
        by_metric(survey.metrics if metrics is None else metrics, rows),
        f"Cost is in {UNITS[survey.unit]}. A run is off the front if another costs no more and "
        "scores no worse, by the scores as they stand. In brackets: how often it is on the front "
        "when prompts are drawn anew, costs as they are; scores of whole sets are then corrected "
        "for bias. Among all, whatever the cost: best, or tied where it is not told apart from the "
        "best, all runs judged at once (of equal runs, any is called worse in at most 5 % of "
        "cases).",
        frozenset({"on the Pareto front", "among all"}),
        frozenset({"among all"}),
    )


def _scored(survey: SurveyTable, metric: MetricInfo) -> list[Row]:
    return [row for row in survey.rows if metric.name in row.dominated_by]


def _cost(survey: SurveyTable, row: Row) -> float:
    cost = row.cost(survey.unit)
    assert cost is not None, "only runs of known cost are on a front or off it"
    return cost


def _value(row: Row, metric: MetricInfo) -> float:
    value = row.scores[metric.name].value
    assert value is not None, "only runs with a score are on a front or off it"
    return value


def _score(row: Row, metric: MetricInfo) -> str:
    return words.estimate(row.scores[metric.name])


def _standing(row: Row, metric: MetricInfo) -> str:
    """Whether it is on the front, or which run is better; and in which share of resamples."""
    over, share = row.dominated_by[metric.name], row.front_share.get(metric.name)
    often = "" if share is None else f" ({100 * share:.0f}{words.SPACE}%)"
    return ("yes" if over is None else f"no: {over}") + often


def point_figures(survey: SurveyTable) -> list[Drawing]:
    """Figures of score against cost, and against one or two varied numeric parameters."""
    figures = []
    for metric in survey.metrics:
        rows = _scored(survey, metric)
        if len({row.cost(survey.unit) for row in rows}) > 1:
            figures.append(_cost_figure(survey, metric, rows))
        varied = [row for row in rows if _numbers(survey, row)]
        if len(survey.varied) == 2:
            bases = _lines(varied, _base, lambda row: 0.0).items()
            figures += [
                _map(survey, metric, base, [row for _, row in line]) for base, line in bases
            ]
        if len(survey.varied) == 1 and survey.varied != ["steps"] and len(varied) > 1:
            figures.append(_curve(survey, metric, varied))
    return figures


def _numbers(survey: SurveyTable, row: Row) -> bool:
    """Whether all varied parameters of a run are numbers."""
    values = [row.point.get(name) for name in survey.varied]
    return bool(values) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values
    )


def _base(row: Row) -> str:
    """The name of what was varied: the label without the values."""
    return row.label.rpartition(": ")[0]


def _cost_figure(survey: SurveyTable, metric: MetricInfo, rows: list[Row]) -> Drawing:
    lines = _lines(rows, lambda row: row.series, lambda row: _cost(survey, row))
    with new_figure(3.3 + 0.19 * ((len(lines) + 2) // 2)) as figure:
        axes = figure.subplots()
        axes.set_xscale("log")
        _front(axes, survey, metric, rows)
        for index, (name, line) in enumerate(lines.items()):
            look = _look(index)
            _points(axes, line, metric, cut(name, 40), look)
            off = [(x, row) for x, row in line if row.dominated_by[metric.name] is not None]
            axes.plot(
                [x for x, _ in off],
                [_value(row, metric) for _, row in off],
                look["marker"],
                color=look["color"],
                markerfacecolor="white",
                markersize=5,
                zorder=3,
            )
        _dress(axes, UNITS[survey.unit], words.label(metric))
        costs = {_cost(survey, row) for row in rows}
        show = words.macs if survey.unit == "macs" else "{:.3g}".format
        log_ticks(axes, [*costs], (max(costs) / min(costs)) ** (1 / 9), show)
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8.5)
    spoken = "; ".join(
        f"{row.label} at {_cost(survey, row):g}: {_score(row, metric)}, {_standing(row, metric)}"
        for row in rows
    )
    return Drawing(
        files.file_name("cost", metric.name),
        figure,
        f"{metric.label} against {UNITS[survey.unit]}; on the Pareto front: {spoken}",
        f"{words.label(metric)} against {UNITS[survey.unit]}. Filled, joined in grey: on the "
        "Pareto front; hollow: another run costs no more and scores no worse. Whiskers: 95 % "
        "intervals, where there are any.",
    )


def _look(index: int) -> dict[str, Any]:
    """36 combinations of colour and marker."""
    return {"color": COLOURS[index % 6], "marker": MARKERS[(index + index // 6) % 6]}


def _front(axes: Axes, survey: SurveyTable, metric: MetricInfo, rows: list[Row]) -> None:
    best = sorted(
        (_cost(survey, row), _value(row, metric))
        for row in rows
        if row.dominated_by[metric.name] is None
    )
    axes.step(
        [x for x, _ in best], [y for _, y in best], where="post", color="#c4c4c4", linewidth=4,
        zorder=0.5, label="Pareto front",
    )  # fmt: skip


def _lines(
    rows: list[Row], name: Callable[[Row], str], across: Callable[[Row], float]
) -> dict[str, list[tuple[float, Row]]]:
    """Runs with their x coordinates in ascending order, by name in order of appearance."""
    return {
        one: [(across(row), row) for row in sorted(rows, key=across) if name(row) == one]
        for one in dict.fromkeys(map(name, rows))
    }


def _points(
    axes: Axes, line: list[tuple[float, Row]], metric: MetricInfo, label: str, look: dict[str, Any]
) -> None:
    """A line through scores, with whiskers where they have intervals."""
    xs, ys = [x for x, _ in line], [_value(row, metric) for _, row in line]
    axes.plot(xs, ys, linewidth=1.2, markersize=5, label=label, **look)
    for x, row in line:
        if ends := row.scores[metric.name].ends:
            axes.plot([x, x], ends, color=look["color"], linewidth=0.9)


def _curve(survey: SurveyTable, metric: MetricInfo, rows: list[Row]) -> Drawing:
    """Score against the one parameter that was varied."""
    (name,) = survey.varied
    lines = _lines(rows, _base, lambda row: float(row.point[name]))
    with new_figure(2.9 + 0.19 * ((len(lines) + 1) // 2)) as figure:
        axes = figure.subplots()
        for index, (base, line) in enumerate(lines.items()):
            _points(axes, line, metric, cut(base, 40), _look(index))
        _dress(axes, name, words.label(metric))
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8.5)
    spoken = "; ".join(f"{row.label}: {_score(row, metric)}" for row in rows)
    return Drawing(
        files.file_name("varied", name, metric.name),
        figure,
        f"{metric.label} against {name}: {spoken}",
        f"{words.label(metric)} against {name}. Whiskers: 95 % intervals, where there are any.",
    )


def _map(survey: SurveyTable, metric: MetricInfo, base: str, rows: list[Row]) -> Drawing:
    """Scores over the two parameters that were varied, the best one framed."""
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    down, across = survey.varied
    known = {(row.point[down], row.point[across]): _value(row, metric) for row in rows}
    sign = metric.sign
    best = max(known, key=lambda place: sign * known[place])
    ends = min(known.values()), max(known.values())
    colours = LinearSegmentedColormap.from_list("scores", ["#ffffff", COLOURS[0]][::sign])
    shade = Normalize(*(ends if ends[0] < ends[1] else (ends[0] - 1, ends[0] + 1)))
    xs, ys = sorted({x for _, x in known}), sorted({y for y, _ in known})
    with new_figure(0.9 + 0.42 * len(ys)) as figure:
        axes = figure.subplots()
        for i, y in enumerate(ys):
            for j, x in enumerate(xs):
                if (y, x) not in known:
                    axes.text(j, i, words.NONE, ha="center", va="center", color=SOFT)
                    continue
                shaded = shade(known[y, x])
                tile(axes, (j, i), colours(shaded), (y, x) == best, 1.8)
                ink = "white" if (shaded if sign > 0 else 1 - shaded) > 0.7 else INK
                text = words.number(known[y, x]) + (" *" if (y, x) == best else "")
                axes.text(j, i, text, ha="center", va="center", color=ink, size=9)
        tiles(axes, [f"{x:g}" for x in xs], [f"{y:g}" for y in ys], 9)
        axes.set_xlabel(across, size=9, color=SOFT)
        axes.set_ylabel(down, size=9, color=SOFT)
    spoken = "; ".join(f"{down} {y:g}, {across} {x:g}: {v:.4g}" for (y, x), v in known.items())
    return Drawing(
        files.file_name("map", base, metric.name),
        figure,
        f"{metric.label} of {base}: {spoken}",
        f"{words.label(metric)} of {base} by {down} and {across}; darker is better, the best has a "
        f"frame and a star. {words.NONE}: impossible, or without a score.",
    )


def _dress(axes: Axes, across: str, up: str) -> None:
    axes.set_xlabel(across, size=9, color=SOFT)
    axes.set_ylabel(up, size=9.5)
    dress(axes)
