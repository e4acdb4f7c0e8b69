"""The candidates of a survey, each planned with its baseline, with every value that is varied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.engine.resolve import Mistyped
from harness.experiments.benchmark import Candidate
from harness.experiments.experiment import Contest, origins_of, planned_pair
from harness.experiments.inputs import Say
from harness.experiments.order import Order
from harness.experiments.varying import as_text, expand, series_of


def candidates_of(order: Order) -> list[tuple[Candidate, Call]]:
    """The candidates of the order's benchmark; HarnessError where it has one alone."""
    candidates = order.benchmark.candidates
    if not candidates:
        raise HarnessError(f"benchmark {order.benchmark.name} has one candidate: make a bench")
    return [(one, order.read(one.sampler)) for one in candidates]


def contests_of(
    order: Order, candidates: Sequence[tuple[Candidate, Call]], remark: Say
) -> list[Contest]:
    """The contests of all candidates, planned; `remark` gets what was left out."""
    return [
        contest
        for candidate, call in candidates
        for contest in _contests(order, candidate, call, remark)
    ]


def _contests(order: Order, candidate: Candidate, call: Call, remark: Say) -> list[Contest]:
    """The candidate, or with the parameters that the benchmark varies, its points.

    Points that are impossible, a guidance interval upside down perhaps, are left out; all of them
    is a mistake, and so is a value of the wrong kind.
    """
    vary = order.benchmark.vary
    if not vary:
        return [_contest(order, candidate, call, {})]
    contests: list[Contest] = []
    refused: list[HarnessError] = []
    for point, asked in expand(call, vary):
        series = series_of(candidate.series or candidate.label or str(call), point)
        label = f"{candidate.name}: {as_text(point)}"
        named = candidate.model_copy(update={"label": label, "series": series})
        try:
            contests.append(_contest(order, named, asked, point))
        except Mistyped:
            raise
        except HarnessError as error:
            refused.append(error)
    if not contests:
        raise refused[0]
    for reason in refused:
        remark(f"left out: {reason}")
    return contests


def _contest(order: Order, candidate: Candidate, call: Call, point: dict[str, Any]) -> Contest:
    """A candidate and its baseline, planned; errors name the candidate."""
    baseline = order.read(candidate.baseline) if candidate.baseline else order.baseline
    try:
        planner = order.planner(candidate.model, candidate.guide)
        other = candidate.baseline_model
        against = order.planner(other, candidate.guide) if other else None
        planned = planned_pair(planner, call, baseline, order.benchmark.defaults, against)
        origins = origins_of(planner, call, None, order.benchmark)
    except HarnessError as error:
        kind = Mistyped if isinstance(error, Mistyped) else HarnessError
        raise kind(f"candidate {candidate.name!r}: {error}") from None
    return Contest(planned, order.place, candidate, point, origins=origins)
