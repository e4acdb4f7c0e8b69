"""Guidance in a limited interval of levels, the conditional output alone outside."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field

from harness.core.errors import HarnessError
from harness.engine.policies.base import GuidancePolicy, PolicyContext, policy

_PRINTED = 0.03
"""Papers print bounds with two digits; the relative difference that this makes at most."""


def _check(params: dict[str, Any]) -> None:
    if params.get("interval") and params.get("interval_steps"):
        raise HarnessError("interval and interval_steps contradict each other: give one")


@policy(
    "interval",
    title="Limited interval",
    paper="Kynkäänniemi et al. 2024, Applying Guidance in a Limited Interval Improves Sample and "
    "Distribution Quality in Diffusion Models, arXiv:2404.07724",
    check=_check,
    place=20,
)
class Interval(GuidancePolicy):
    """Equation 5: guidance acts at steps that begin inside low < sigma <= high.

    `interval` = [lo, hi] in sigma, a bound within 3 % of a level taken for that level;
    `interval_steps` = [a, b], step indices from 0, both ends included; one of them at most.
    """

    def __init__(
        self,
        at: PolicyContext,
        *,
        interval: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None,
        interval_steps: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None,
    ) -> None:
        if interval is not None:
            self.low, self.high = _snap(at.sigmas, interval)
        elif interval_steps is not None:
            self.low, self.high = _of_steps(at.sigmas, interval_steps)

    def acts(self, step: float) -> bool:
        return self.low < step <= self.high


def _of_steps(sigmas: torch.Tensor, steps: list[int]) -> tuple[float, float]:
    first, last = steps
    if not 0 <= first <= last < len(sigmas) - 1:
        raise HarnessError(
            f"interval_steps [{first}, {last}] must lie within steps 0 to {len(sigmas) - 2}"
        )
    return float(sigmas[last + 1]), float(sigmas[first])


def _snap(sigmas: torch.Tensor, interval: list[float]) -> tuple[float, float]:
    """Each bound at the ladder's level that it is a rounding of, if any, else as it is."""
    low, high = interval
    top = float(sigmas[0])
    if not 0 <= low < high or low >= top:
        raise HarnessError(
            f"interval [{low:g}, {high:g}] must be two sigmas, the smaller first, and begin below "
            f"the ladder's highest level {top:.6g}"
        )
    levels = sigmas[sigmas > 0]

    def as_meant(bound: float) -> float:
        apart = (levels / bound).log().abs()
        return float(levels[apart.argmin()]) if bound and apart.min() < _PRINTED else bound

    meant = (as_meant(low), as_meant(high))
    if not bool(((levels > meant[0]) & (levels <= meant[1])).any()):
        raise HarnessError(
            f"interval [{low:g}, {high:g}] holds no step: none starts above the smaller and up to "
            "the larger sigma"
        )
    return meant
