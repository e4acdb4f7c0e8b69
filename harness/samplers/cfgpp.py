"""CFG++: guidance that stays on the data's manifold, by renoising with the unconditional noise."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field

from harness.samplers.base import Denoise, Noise, epsilon, sampler


@sampler(
    "cfgpp",
    title="CFG++",
    paper="Chung et al. 2024, CFG++: Manifold-constrained Classifier Free Guidance, "
    "arXiv:2406.08070",
)
def cfgpp(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    noise: Noise,
    *,
    scale: Annotated[float, Field(ge=0, le=1)] = 0.6,
) -> torch.Tensor:
    """Algorithm 2 (DDIM) with `scale` the paper's lambda.

    A step ends at D_u + lambda (D_c - D_u) + t eps_u. With eps_u = (x - D_u) / s that is DDIM's own
    step with the guidance lambda s / (s - t), so it takes every guidance policy.
    """
    for s, t in pairwise(sigmas):
        weight = scale * s / (s - t)
        x = x + (t - s) * epsilon(x, denoise(x, s, guidance=weight), s)
    return x
