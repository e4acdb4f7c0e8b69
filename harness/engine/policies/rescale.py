"""Guidance rescale: the guided output at the conditional output's standard deviation."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from harness.engine.policies.base import GuidancePolicy, PolicyContext, policy


@policy(
    "rescale",
    title="Guidance rescale",
    paper="Lin et al. 2023, Common Diffusion Noise Schedules and Sample Steps are Flawed, "
    "arXiv:2305.08891",
    place=10,
)
class Rescale(GuidancePolicy):
    """Section 3.4: the output is pulled to the conditional output's standard deviation over all
    axes of a sample, by phi = `guidance_rescale`."""

    def __init__(
        self,
        at: PolicyContext,
        *,
        guidance_rescale: Annotated[float, Field(ge=0, le=1)] | None = None,
    ) -> None:
        self.phi = guidance_rescale or 0.0
        self.linear, self.conditional = not self.phi, bool(self.phi)

    def adjusted(self, guided: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        if not self.phi:
            return guided
        axes = tuple(range(1, c.ndim))
        rescaled = guided * (c.std(axes, keepdim=True) / guided.std(axes, keepdim=True))
        return self.phi * rescaled + (1 - self.phi) * guided
