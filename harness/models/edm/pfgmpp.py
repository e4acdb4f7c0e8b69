"""PFGM++'s distributions: its prior for first states, and Restart's step to a higher level.

A picture of N numbers is a point with D more coordinates, at distance r = sigma sqrt(D) from the
picture's space. Xu et al. 2023, "PFGM++: Unlocking the Potential of Physics-Inspired Generative
Models", arXiv:2302.04265.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch

from harness.models.edm.edm_model import EdmLevels, EdmModel


class PfgmLevels(EdmLevels):
    """Ladders of a PFGM++ network, and Restart's renoising; needs no weights."""

    def renoise(
        self,
        x: torch.Tensor,
        low: torch.Tensor,
        high: torch.Tensor,
        noise: Callable[..., torch.Tensor],
        scale: float = 1.0,
    ) -> torch.Tensor:
        """`jump` with this network's number of further coordinates; takes two draws."""
        return jump(x, low, high, noise, self.net.extra_dimensions, scale)


class PfgmModel(PfgmLevels, EdmModel):
    """A loaded network of PFGM++; see EdmModel."""

    def start(self, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return spread(noise.to(self.device, self.state_dtype), self.net.extra_dimensions) * sigma


def spread(noise: torch.Tensor, extra: int) -> torch.Tensor:
    """First states at sigma 1 from unit normals [B, ...]: the same direction, another length.

    The length is distributed as sqrt(D b / (1 - b)), b ~ Beta(N/2, D/2) (the perturbation kernel at
    its prior, section 3.2), and grows with the noise's own: it is the same quantile. So no further
    draw is needed, and states tend to the noise itself as D grows.
    """
    from scipy.special import betaincinv, gammainc, gammaincc

    half, more = noise[0].numel() / 2, extra / 2
    square = noise.flatten(1).square().sum(1).cpu().numpy() / 2
    # each factor from its own tail: the difference of the other from 1 would be lost
    inside = betaincinv(half, more, gammainc(half, square))
    outside = betaincinv(more, half, gammaincc(half, square))
    factor = torch.from_numpy((more * inside / (outside * square)) ** 0.5)
    return noise * factor.to(noise, non_blocking=True).reshape(-1, *[1] * (noise.ndim - 1))


def jump(
    x: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
    noise: Callable[..., torch.Tensor],
    extra: int,
    scale: float = 1.0,
) -> torch.Tensor:
    """The state x [B, ...] of level `low`, moved along a random line to level `high`.

    The published code of Restart: a point at distance r of the picture's space moves in a random
    direction of all N + D coordinates until its distance is that of `high`; of the two such points,
    the one behind. `scale` is Restart's S_noise.
    """
    size = x[0].numel()
    near, far = low * sqrt(extra), high * sqrt(extra)
    place = noise((extra,))
    place = place / place.norm(dim=1, keepdim=True) * near
    line = noise((size + extra,))
    line = line / line[:, size:].norm(dim=1, keepdim=True)
    along = (place * line[:, size:]).sum(1, keepdim=True)
    move = -along - (along**2 + (far**2 - near**2)).sqrt()
    return x + (move * line[:, :size] * scale).reshape(x.shape)
