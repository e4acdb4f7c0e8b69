"""The Pareto front of score against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.store.survey_table import Row


def with_fronts(
    rows: Sequence[Row], directions: Mapping[str, str], unit: str
) -> tuple[list[Row], str]:
    """The rows with `dominated_by` filled in for every metric, and the unit of cost.

    Evaluations, where a run's cost in `unit` is not known.
    """
    known = unit if all(row.cost(unit) is not None for row in rows) else "nfe"
    dominated: list[dict[str, str | None]] = [{} for _ in rows]
    for metric, direction in directions.items():
        points = {
            at: (cost, score.value if direction == "lower" else -score.value)
            for at, row in enumerate(rows)
            if (cost := row.cost(known)) is not None
            and (score := row.scores.get(metric)) is not None
            and score.value is not None
        }
        for at, over in dominators(points).items():
            dominated[at][metric] = None if over is None else rows[over].label
    return [replace(row, dominated_by=one) for row, one in zip(rows, dominated, strict=True)], known


def dominators(points: Mapping[int, tuple[float, float]]) -> dict[int, int | None]:
    """For every point (cost, loss), the best of those that beat it; None on the front.

    One beats another if it is no worse in both and better in one; the best is the one of the
    smallest loss, then the smallest cost.
    """

    def over(point: tuple[float, float]) -> int | None:
        better = [
            at
            for at, (cost, loss) in points.items()
            if cost <= point[0] and loss <= point[1] and (cost, loss) != point
        ]
        return min(better, key=lambda at: points[at][::-1], default=None)

    return {at: over(point) for at, point in points.items()}
