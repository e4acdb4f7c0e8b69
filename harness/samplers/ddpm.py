"""DDPM's ancestral sampler, the stochastic baseline of the Restart paper."""

from __future__ import annotations

import torch

from harness.samplers.base import Denoise, Noise, sampler
from harness.samplers.ddim import ddim


@sampler(
    "ddpm",
    title="DDPM",
    paper="Ho et al. 2020, Denoising Diffusion Probabilistic Models, arXiv:2006.11239",
)
def ddpm(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    noise: Noise,
    *,
    guidance: float = 5.0,
) -> torch.Tensor:
    """Algorithm 2 over the ladder, with the smaller of the paper's two variances ("fixed_small").

    In sigma-space that is DDIM with eta = 1, step for step. What differs between published DDPM and
    DDIM baselines on Stable Diffusion is the ladder: diffusers' DDPM ignores the checkpoint's
    steps_offset, which MODEL(steps_offset=0) does here.
    """
    return ddim(denoise, x, sigmas, noise, guidance=guidance, eta=1.0)
