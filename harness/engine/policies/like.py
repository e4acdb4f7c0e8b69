"""Each image guided as the same image of another run was."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.engine.policies.base import GuidancePolicy, PolicyContext, policy

ANY_SCALE = torch.tensor([2.0], dtype=torch.float64)
"""Stands for an image's own guidance scale where there is no image: it takes both branches."""


def _check(params: dict[str, Any]) -> None:
    if like := params.get("guidance_like"):
        if not params.get("guidance"):
            raise HarnessError(
                f"guidance_like={like} gives each image a guidance of its own in place of the "
                "sampler's, so that needs a parameter guidance that is not 0"
            )
        if params.get("guidance_schedule"):
            raise HarnessError("guidance_like and guidance_schedule contradict each other")
    elif params.get("guidance_estimate"):
        raise HarnessError("guidance_estimate has no effect without guidance_like: give both")


@policy(
    "like",
    title="Guidance of another run's images",
    paper="matched image by image, for comparisons",
    check=_check,
    place=40,
)
class Like(GuidancePolicy):
    """In place of the sampler's guidance, each image has the nominal scale (or another
    `guidance_estimate`) of the same image in the run `guidance_like` of the same folder."""

    def __init__(
        self,
        at: PolicyContext,
        *,
        guidance_like: Annotated[str, Field(pattern=r"^[^/\\]+$")] | None = None,
        guidance_estimate: Literal["nominal", "ga_eval"] | None = None,
    ) -> None:
        scales = ANY_SCALE if at.scales is None else at.scales
        assert at.guidance, "see _check"
        self._factors = scales / at.guidance

    def scale(self, scale: torch.Tensor, step: float) -> torch.Tensor:
        return scale * self._factors


def check_alone(call: Call) -> None:
    """Raise HarnessError for a sampler that needs another run beside the one that is made."""
    if like := call.params.get("guidance_like"):
        raise HarnessError(
            f"guidance_like={like} names a run in the same folder, which has each image's scale: "
            "it goes with harness generate and harness bench, not with single pictures"
        )
