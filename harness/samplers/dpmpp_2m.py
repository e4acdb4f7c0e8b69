"""DPM-Solver++(2M), the usual strong default for guided sampling."""

from __future__ import annotations

from itertools import pairwise

import torch

from harness.samplers.base import Denoise, Noise, sampler


@sampler("dpmpp_2m", title="DPM++ 2M", paper="Lu et al. 2022, DPM-Solver++, arXiv:2211.01095")
def dpmpp_2m(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    noise: Noise,
    *,
    guidance: float = 5.0,
) -> torch.Tensor:
    """Algorithm 2 in data prediction, with lambda = -log sigma.

    The first step is of first order, and so is the last where the ladder ends at 0 (lambda is
    infinite there).
    """
    previous, h_previous = None, None
    for s, t in pairwise(sigmas):
        denoised = denoise(x, s, guidance=guidance)
        h = (s / t).log()
        target = denoised
        if previous is not None and h_previous is not None and t > 0:
            r = h_previous / h
            target = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * previous
        x = t / s * x - torch.expm1(-h) * target
        previous, h_previous = denoised, h
    return x
