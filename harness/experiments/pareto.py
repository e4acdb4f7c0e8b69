"""The Pareto front of score against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.store.survey_table import Row

Floats = NDArray[np.float64]


def with_fronts(
    rows: Sequence[Row],
    directions: Mapping[str, str],
    unit: str,
    resampled: Mapping[str, Floats] | None = None,
) -> tuple[list[Row], str]:
    """The rows with `dominated_by` filled in for every metric, and the unit of cost.

    Evaluations, where a run's cost in `unit` is not known. `resampled` scores [draws, rows] by
    metric give `front_share`.
    """
    known = unit if all(row.cost(unit) is not None for row in rows) else "nfe"
    dominated: list[dict[str, str | None]] = [{} for _ in rows]
    shares: list[dict[str, float]] = [{} for _ in rows]
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
        drawn = (resampled or {}).get(metric)
        if drawn is None or np.isnan(drawn[:, [*points]]).any():
            continue  # a share of resamples is one of all runs
        losses = drawn[:, [*points]] * (1 if direction == "lower" else -1)
        costs = np.array([cost for cost, _ in points.values()])
        for at, share in zip(points, front_shares(costs, losses), strict=True):
            shares[at][metric] = float(share)
    both = zip(rows, dominated, shares, strict=True)
    return [replace(row, dominated_by=one, front_share=share) for row, one, share in both], known


def front_shares(costs: Floats, losses: Floats) -> Floats:
    """In which share of draws each of k points is on the front; costs [k], losses [draws, k]."""
    shares = np.zeros(len(costs))
    for at, cost in enumerate(costs):
        own = losses[:, [at]]
        less = (costs < cost) & (losses <= own) | (costs <= cost) & (losses < own)
        shares[at] = 1 - less.any(1).mean()
    return shares


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
