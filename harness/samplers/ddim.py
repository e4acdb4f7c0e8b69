"""DDIM, in sigma-space Euler's method with optional fresh noise."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field

from harness.samplers.base import Denoise, Noise, epsilon, sampler


@sampler(
    "ddim",
    title="DDIM",
    paper="Song et al. 2021, Denoising Diffusion Implicit Models, arXiv:2010.02502",
)
def ddim(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    noise: Noise,
    *,
    guidance: float = 5.0,
    eta: Annotated[float, Field(ge=0, le=1)] = 0.0,
) -> torch.Tensor:
    """Equations 12 and 16: eta = 0 is deterministic, eta = 1 the ancestral DDPM sampler."""
    for s, t in pairwise(sigmas):
        eps = epsilon(x, denoise(x, s, guidance=guidance), s)
        up = eta * t / s * (s**2 - t**2).sqrt()
        down = (t**2 - up**2).sqrt()
        x = x + (down - s) * eps
        if up > 0:
            x = x + up * noise()
    return x
