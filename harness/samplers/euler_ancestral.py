"""Euler with ancestral noise, as k-diffusion and most user interfaces sample."""

from __future__ import annotations

from itertools import pairwise

import torch

from harness.samplers.base import Denoise, Noise, epsilon, sampler
from harness.samplers.ddim import ancestral_levels
from harness.samplers.edm import NotNegative


@sampler(
    "euler_ancestral",
    title="Euler ancestral",
    paper="Crowson 2022, k-diffusion, after Karras et al. 2022, arXiv:2206.00364",
)
def euler_ancestral(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    noise: Noise,
    *,
    guidance: float = 5.0,
    eta: NotNegative = 1.0,
    s_noise: NotNegative = 1.0,
) -> torch.Tensor:
    """An Euler step to below the next level, then fresh noise of relative deviation `s_noise`.

    `eta` scales the noise of the exact posterior, up to what the next level can hold. With
    s_noise = 1 and eta <= 1 this is ddim(eta); the two are known by different ladders.
    """
    for s, t in pairwise(sigmas):
        eps = epsilon(x, denoise(x, s, guidance=guidance), s)
        down, up = ancestral_levels(s, t, eta)
        x = x + (down - s) * eps
        if up > 0:
            x = x + up * s_noise * noise()
    return x
