"""DDIM, in sigma-space Euler's method with optional fresh noise, and its ancestral relatives."""

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
        down, up = ancestral_levels(s, t, eta)
        x = x + (down - s) * eps
        if up > 0:
            x = x + up * noise()
    return x


def ancestral_levels(
    s: torch.Tensor, t: torch.Tensor, eta: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The level to step down to from s, and the deviation of fresh noise that then leads up to t.

    With eta = 1 the noise is that of the exact posterior given x0: in variance-preserving terms
    DDPM's smaller variance (1 - abar_t) / (1 - abar_s) beta.
    """
    up = torch.minimum(t, eta * t / s * (s**2 - t**2).sqrt())
    return (t**2 - up**2).sqrt(), up
