"""EDM's general sampler: any schedule and scaling of the probability-flow ODE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import inf, log
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field

from harness.core.errors import HarnessError
from harness.samplers.base import Clock, Denoise, Noise, sampler
from harness.samplers.edm import NotNegative, churn

Map = Callable[[torch.Tensor], torch.Tensor]
Bounds = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2, max_length=2)]


@sampler(
    "edm_general",
    title="EDM, general",
    paper="Karras et al. 2022, Elucidating the Design Space (EDM), arXiv:2206.00364",
    needs=("clock",),
)
def edm_general(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    noise: Noise,
    *,
    clock: Clock,
    guidance: float = 1.0,
    solver: Literal["heun", "euler"] = "heun",
    schedule: Literal["linear", "vp", "ve"] = "linear",
    scaling: Literal["none", "vp"] = "none",
    alpha: Annotated[float, Field(gt=0, le=1)] = 1.0,
    vp_range: Bounds | None = None,
    s_churn: NotNegative = 0.0,
    s_min: NotNegative = 0.0,
    s_max: NotNegative | None = None,
    s_noise: NotNegative = 1.0,
) -> torch.Tensor:
    """Algorithm 3 with churn, in the state z = s(t) x and the time t of the schedule (table 1).

    The levels are the model's `spacing`: the presets are VP (solver=euler, spacing=vp, schedule=vp,
    scaling=vp), VE (euler, ve, ve, none) and iDDPM (euler, iddpm, linear, none). The second
    evaluation is at t + `alpha` h (1: Heun, 1/2: midpoint). The VP schedule is fitted to
    `vp_range` (its sigmas at t = 0.001 and 1), by default the ladder's ends. Noise is taken at
    every step, churned or not, as the published code does.
    """
    low, high = vp_range or (float(sigmas[-2]), float(sigmas[0]))
    if schedule == "vp" and low >= high:
        raise HarnessError(
            f"edm_general: the VP schedule needs two levels to be fitted to, found {low:.6g} and "
            f"{high:.6g}: take 2 steps or more, or vp_range=[0.002, 80], the smaller first"
        )
    others = {"ve": VE, "linear": LINEAR}
    own = Vp.fit(low, high) if schedule == "vp" else others[schedule]
    most = churn(s_churn, len(sigmas) - 1)

    def size(t: torch.Tensor) -> torch.Tensor:
        return (1 + own.sigma(t) ** 2).rsqrt() if scaling == "vp" else torch.ones_like(t)

    def slope(z: torch.Tensor, t: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        sigma, rate, s = own.sigma(t), own.rate(t), size(t)
        shrink = -sigma * rate * s**2 if scaling == "vp" else 0.0  # s'/s
        d = denoise(z / s, sigma, guidance=guidance, step=step)
        return (rate / sigma + shrink) * z - rate * s / sigma * d

    times = own.time(sigmas) * (sigmas > 0)  # a fitted schedule may be 0 twice
    z = x * size(times[0])
    for i, (t, ahead) in enumerate(pairwise(times)):
        begin = sigmas[i]
        gamma = most if s_min <= begin <= (inf if s_max is None else s_max) else 0.0
        hat = t
        if gamma == 0:
            noise.skip()
        else:
            hat = own.time(clock.round(begin * (1 + gamma)).clamp(min=begin))
            added = (own.sigma(hat) ** 2 - begin**2).clamp(min=0).sqrt()
            z = size(hat) / size(t) * z + added * size(hat) * s_noise * noise()
        h = ahead - hat
        first = slope(z, hat, begin)
        if solver == "heun" and i < len(sigmas) - 2:
            second = slope(z + alpha * h * first, hat + alpha * h, begin)
            first = (1 - 1 / (2 * alpha)) * first + second / (2 * alpha)
        z = z + h * first
    return z / size(times[-1])


class GridSchedule(NamedTuple):
    """Levels sigma(t), their rates sigma'(t), and the inverse t(sigma)."""

    sigma: Map
    rate: Map
    time: Map


VE = GridSchedule(torch.sqrt, lambda t: 1 / (2 * t.sqrt()), torch.square)
LINEAR = GridSchedule(torch.clone, torch.ones_like, torch.clone)


@dataclass(frozen=True)
class Vp:
    """sigma(t) = sqrt(exp(rise t^2 / 2 + start t) - 1)."""

    rise: float
    start: float

    @classmethod
    def fit(cls, low: float, high: float, epsilon: float = 1e-3) -> Vp:
        """The schedule that is `low` at t = epsilon and `high` at 1."""
        rise = 2 * (log(low**2 + 1) / epsilon - log(high**2 + 1)) / (epsilon - 1)
        return cls(rise, log(high**2 + 1) - rise / 2)

    def sigma(self, t: torch.Tensor) -> torch.Tensor:
        return (self.rise * t**2 / 2 + self.start * t).expm1().sqrt()

    def rate(self, t: torch.Tensor) -> torch.Tensor:
        sigma = self.sigma(t)
        return (self.start + self.rise * t) / 2 * (sigma + 1 / sigma)

    def time(self, sigma: torch.Tensor) -> torch.Tensor:
        root = (self.start**2 + 2 * self.rise * (sigma**2).log1p()).sqrt()
        return (root - self.start) / self.rise
