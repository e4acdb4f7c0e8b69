"""Heun's second-order method on the probability-flow ODE."""

from __future__ import annotations

from itertools import pairwise

import torch

from harness.samplers.base import Denoise, Noise, epsilon, sampler


@sampler(
    "heun",
    title="Heun",
    paper="Karras et al. 2022, Elucidating the Design Space (EDM), arXiv:2206.00364",
)
def heun(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    noise: Noise,
    *,
    guidance: float = 5.0,
) -> torch.Tensor:
    """Algorithm 1: an Euler step, then the mean of the slopes at its two ends (not at sigma 0)."""
    for s, t in pairwise(sigmas):
        slope = epsilon(x, denoise(x, s, guidance=guidance), s)
        ahead = x + (t - s) * slope
        if t > 0:
            slope_ahead = epsilon(ahead, denoise(ahead, t, guidance=guidance, step=s), t)
            ahead = x + (t - s) * (slope + slope_ahead) / 2
        x = ahead
    return x
