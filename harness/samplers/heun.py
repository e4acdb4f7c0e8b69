"""Heun's second-order method on the probability-flow ODE."""

from __future__ import annotations

from itertools import pairwise

import torch

from harness.samplers.base import Denoise, Noise, epsilon, sampler

ALL_NOISE = 1000.0
"""Above it nothing is left of the picture, and the slope's mean over a step down from there would
weigh an error of D by that level. Flow models begin at 1e6, zero-terminal-SNR ones at 4096."""


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
    """Algorithm 1: an Euler step, then the mean of the slopes at its two ends; last step Euler, and
    so is one down from ALL_NOISE."""
    last = len(sigmas) - 2
    for i, (s, t) in enumerate(pairwise(sigmas)):
        x = heun_step(denoise, x, (s, s, t), guidance, second=i < last)
    return x


def heun_step(
    denoise: Denoise,
    x: torch.Tensor,
    levels: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    guidance: float,
    *,
    second: bool | torch.Tensor,
) -> torch.Tensor:
    """Euler from level `hat` to t, or Heun if `second` (and not from ALL_NOISE); `levels` =
    (s, hat, t).

    s is where the step began before churn: guidance policies decide there for both evaluations.
    """
    s, hat, t = levels
    slope = epsilon(x, denoise(x, hat, guidance=guidance, step=s), hat)
    ahead = x + (t - hat) * slope
    if not second or hat > ALL_NOISE:
        return ahead
    slope_ahead = epsilon(ahead, denoise(ahead, t, guidance=guidance, step=s), t)
    return x + (t - hat) * (slope + slope_ahead) / 2
