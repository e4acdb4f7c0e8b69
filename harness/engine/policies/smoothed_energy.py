"""Smoothed energy guidance, SEG: away from the output under smoothed self-attention."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from harness.core.errors import HarnessError
from harness.engine.policies.base import PolicyContext, policy
from harness.engine.policies.further_branch import FurtherBranch
from harness.models.pipelines.hooks.smoothed import SmoothedQueries


def _check(params: dict[str, Any]) -> None:
    idle = [name for name in ("seg_blur", "seg_layers") if name in params]
    if idle and not params.get("seg_scale"):
        raise HarnessError(f"{idle[0]} has no effect without seg_scale: give both, or neither")


@policy(
    "seg",
    title="Smoothed energy guidance",
    paper="Hong 2024, Smoothed Energy Guidance: Guiding Diffusion Models with Reduced Energy "
    "Curvature of Attention, arXiv:2408.00760",
    check=_check,
    place=64,
)
class SmoothedEnergy(FurtherBranch):
    """`seg_scale` (s) times (c - p) is added, p the conditional output of the network whose
    self-attention in `seg_layers` (by default the middle block's) has its queries blurred by
    `seg_blur` positions, infinitely if it is not given."""

    def __init__(
        self,
        at: PolicyContext,
        *,
        seg_scale: Annotated[float, Field(ge=0)] | None = None,
        seg_blur: Annotated[float, Field(gt=0)] | None = None,
        seg_layers: Annotated[list[str], Field(min_length=1)] | None = None,
    ) -> None:
        change = SmoothedQueries(tuple(seg_layers or ("mid",)), seg_blur)
        super().__init__(seg_scale, "smoothed", change, "seg_scale")
