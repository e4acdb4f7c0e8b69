"""EDM's stochastic sampler: churn, then Heun."""

from __future__ import annotations

from itertools import pairwise
from math import inf, sqrt
from typing import Annotated, Literal

import torch
from pydantic import Field

from harness.samplers.base import Clock, Denoise, Noise, sampler
from harness.samplers.heun import heun_step

NotNegative = Annotated[float, Field(ge=0)]


@sampler(
    "edm",
    title="EDM",
    paper="Karras et al. 2022, Elucidating the Design Space (EDM), arXiv:2206.00364",
    needs=("clock",),
)
def edm(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    noise: Noise,
    *,
    clock: Clock,
    guidance: float = 1.0,
    s_churn: NotNegative = 0.0,
    s_min: NotNegative = 0.0,
    s_max: NotNegative | None = None,
    s_noise: NotNegative = 1.0,
    solver: Literal["heun", "euler"] = "heun",
    draw: Literal["always", "churned"] = "always",
) -> torch.Tensor:
    """Algorithm 2. `draw=always` takes noise at every step, churned or not, as EDM's code does (it
    shifts an image's later draws); `churned` only where it acts, as EDM2's."""
    most = churn(s_churn, len(sigmas) - 1)
    for s, t in pairwise(sigmas):
        gamma = most if s_min <= s <= (inf if s_max is None else s_max) else 0.0
        hat = clock.round(s + gamma * s).clamp(min=s)
        if gamma > 0:
            x = x + (hat**2 - s**2).sqrt() * s_noise * noise()
        elif draw == "always":
            noise.skip()
        x = heun_step(denoise, x, (s, hat, t), guidance, second=solver == "heun" and t > 0)
    return x


def churn(s_churn: float, steps: int) -> float:
    """The relative rise of the noise level at a churned step."""
    return min(s_churn / steps, sqrt(2) - 1)
