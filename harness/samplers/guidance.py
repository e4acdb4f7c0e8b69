"""Guidance policies: how the raw conditional and unconditional outputs become one.

A policy decides once per step, on the step's starting sigma, and combines in the network's own
output space. It says which branches it needs, so that a useless one is never evaluated.
"""

from __future__ import annotations

import torch

from harness.errors import HarnessError


class Guidance:
    """Classifier-free guidance: out = u + w (c - u) (Ho & Salimans 2022).

    w = 1 is the conditional output alone, w = 0 the unconditional one alone.
    """

    def scale(self, guidance: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """The weight [B] applied at a step that starts at sigma `step`."""
        return guidance

    def branches(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Which samples [B] need the unconditional and which the conditional output."""
        return weight != 1, weight != 0

    def combine(self, u: torch.Tensor, c: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """One output [B, ...] from both; called where both branches are needed."""
        return u + _like(weight, u) * (c - u)


class Rescale(Guidance):
    """Guidance whose output is pulled to the conditional output's standard deviation.

    Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps are Flawed", section 3.4;
    `phi` in [0, 1], standard deviations over all axes of a sample.
    """

    def __init__(self, phi: float) -> None:
        self.phi = phi

    def branches(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return weight != 1, torch.ones_like(weight, dtype=torch.bool)

    def combine(self, u: torch.Tensor, c: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        out = super().combine(u, c, weight)
        axes = tuple(range(1, out.ndim))
        rescaled = out * (c.std(axes, keepdim=True) / out.std(axes, keepdim=True))
        return self.phi * rescaled + (1 - self.phi) * out


class Interval(Guidance):
    """Another policy inside lo < sigma <= hi, the conditional output alone outside.

    Kynkäänniemi et al. 2024, "Applying Guidance in a Limited Interval Improves Sample and
    Distribution Quality in Diffusion Models", equation 5.
    """

    def __init__(self, low: float, high: float, inner: Guidance) -> None:
        self.low, self.high, self.inner = low, high, inner

    def scale(self, guidance: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        inside = (step > self.low) & (step <= self.high)
        one = torch.ones_like(guidance)
        return torch.where(inside.to(guidance.device), self.inner.scale(guidance, step), one)

    def branches(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inner.branches(weight)

    def combine(self, u: torch.Tensor, c: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return self.inner.combine(u, c, weight)


def make_guidance(
    sigmas: torch.Tensor,
    guidance_rescale: float | None = None,
    interval: list[float] | None = None,
    interval_steps: list[int] | None = None,
) -> Guidance:
    """The policy that a sampler's common parameters ask for, on its ladder `sigmas` [N+1].

    `interval` = [lo, hi] in sigma, a bound within 3 % of a level taken for that level;
    `interval_steps` = [a, b], step indices from 0, both ends included; one of them at most.
    """
    policy = Rescale(guidance_rescale) if guidance_rescale else Guidance()
    if interval is not None:
        return Interval(*_snap(sigmas, interval), policy)
    if interval_steps is not None:
        first, last = interval_steps
        if not 0 <= first <= last < len(sigmas) - 1:
            raise HarnessError(
                f"interval_steps [{first}, {last}] must lie within steps 0 to {len(sigmas) - 2}"
            )
        return Interval(float(sigmas[last + 1]), float(sigmas[first]), policy)
    return policy


_PRINTED = 0.03
"""Papers print bounds with two digits; the relative difference that this makes at most."""


def _snap(sigmas: torch.Tensor, interval: list[float]) -> tuple[float, float]:
    """Each bound at the ladder's level that it is a rounding of, if any, else as it is."""
    low, high = interval
    top = float(sigmas[0])
    if not 0 <= low < high or low >= top:
        raise HarnessError(
            f"interval [{low:g}, {high:g}] must be two sigmas, the smaller first, and begin below "
            f"the ladder's highest level {top:.6g}"
        )
    levels = sigmas[sigmas > 0]

    def as_meant(bound: float) -> float:
        apart = (levels / bound).log().abs()
        return float(levels[apart.argmin()]) if bound and apart.min() < _PRINTED else bound

    meant = (as_meant(low), as_meant(high))
    if not bool(((levels > meant[0]) & (levels <= meant[1])).any()):
        raise HarnessError(
            f"interval [{low:g}, {high:g}] holds no step: none starts above the smaller and up to "
            "the larger sigma"
        )
    return meant


def _like(weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return weight.to(x).reshape(-1, *[1] * (x.ndim - 1))
