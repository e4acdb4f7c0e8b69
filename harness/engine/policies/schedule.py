"""A guidance scale that changes with the level."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from harness.core.errors import HarnessError
from harness.engine.policies.base import GuidancePolicy, PolicyContext, policy

_ROUNDING = 1e-9  # of levels that were written as text

Level = Annotated[list[float], Field(min_length=2, max_length=2)]


@policy(
    "schedule",
    title="Guidance schedule",
    paper="Wang et al. 2024, Analysis of Classifier-Free Guidance Weight Schedulers, "
    "arXiv:2404.13040",
    place=30,
)
class ScheduledScale(GuidancePolicy):
    """Guidance times a factor: `guidance_schedule` = [[sigma, factor], ...], the highest sigma
    first; a step has the factor of the last of these levels at or above it, or of the first."""

    def __init__(
        self,
        at: PolicyContext,
        *,
        guidance_schedule: Annotated[list[Level], Field(min_length=1)] | None = None,
    ) -> None:
        schedule = torch.tensor(guidance_schedule, dtype=torch.float64)
        if bool((schedule[:, 0].diff() >= 0).any()) or float(schedule[-1, 0]) < 0:
            raise HarnessError(
                "guidance_schedule needs [sigma, factor] pairs, the highest sigma first"
            )
        self._levels, self._factors = schedule.unbind(1)

    def scale(self, scale: torch.Tensor, step: float) -> torch.Tensor:
        reached = int((self._levels >= step * (1 - _ROUNDING)).sum())
        return scale * self._factors[max(reached - 1, 0)]
