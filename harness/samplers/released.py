"""The DDIM inversion that the released Z-Sampling and W2SD code computes."""

from __future__ import annotations

import torch

from harness.core.errors import HarnessError
from harness.samplers.base import Denoise, epsilon


def check_released(sigmas: torch.Tensor) -> None:
    """Raise unless the ladder ends above 0: the last inversion divides by that level."""
    if sigmas[-1] <= 0:
        raise HarnessError(
            "inversion=released is defined for variance-preserving ladders that end above sigma 0, "
            "as Stable Diffusion's: use inversion=exact"
        )


def released_inversion(
    denoise: Denoise,
    z: torch.Tensor,
    levels: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    guidance: float,
) -> torch.Tensor:
    """From `z` at level t back to level s, one level too clean: `levels` = (s, t, u), s > t > u.

    Since diffusers 0.22 the inverse scheduler's timestep means the destination, so the published
    call reads z (at t) as if it were at u, moves it to t, and goes on as if it were at s. Defined
    for variance-preserving ladders that end above 0.
    """
    s, t, u = levels
    x = relabel(z, t, u)
    eps = epsilon(x, denoise(x, u, guidance=guidance, time=s, step=s), u)
    return relabel(x + (t - u) * eps, t, s)


def relabel(x: torch.Tensor, level: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The same variance-preserving latent read at another level: z = x / sqrt(1 + sigma^2)."""
    return x * ((1 + other**2) / (1 + level**2)).sqrt()
