"""Guidance policies: how the raw conditional and unconditional outputs become one.

A policy decides once per step, on the step's starting sigma, and combines in the network's own
output space, or estimates of x0 if it says so. It says which branches it needs, so that a useless
one is never evaluated. A policy serves one batch: it may remember what it saw at earlier steps.
"""

from __future__ import annotations

import torch

from harness.core.errors import HarnessError


class Guidance:
    """Classifier-free guidance: out = u + w (c - u) (Ho & Salimans 2022).

    w = 1 is the conditional output alone, w = 0 the unconditional one alone.
    """

    linear = True  # whether it gives u + w (c - u), with w of `scale`
    estimates = False  # whether it combines estimates of x0 rather than the network's outputs
    pag_scale = 0.0
    pag_layers: tuple[str, ...] = ("mid",)
    schedule: torch.Tensor | None = None  # [n, 2]: sigmas, decreasing, and factors of the guidance
    factors: torch.Tensor | None = None  # [B], of each sample's guidance

    def push(self, guidance: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """The weight [B] of (c - p), with p the conditional output under perturbed attention.

        Ahn et al. 2024, "Self-Rectifying Diffusion Sampling with Perturbed-Attention Guidance",
        arXiv:2403.17377: `pag_scale` is s; in `pag_layers` self-attention maps are the identity.
        """
        return torch.full_like(guidance, self.pag_scale)

    def scale(self, guidance: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """The weight [B] applied at a step that starts at sigma `step`.

        With a `schedule`, `guidance` times the factor of the last of its levels at or above `step`,
        or of its first level. `factors` are those of each sample.
        """
        if self.factors is not None:
            guidance = guidance * self.factors.to(guidance)
        if self.schedule is None:
            return guidance
        reached = (self.schedule[:, 0] >= step.max() * (1 - _ROUNDING)).sum()
        return guidance * self.schedule[(reached - 1).clamp(min=0), 1].to(guidance)

    def branches(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Which samples [B] need the unconditional and which the conditional output."""
        return weight != 1, weight != 0

    def combine(
        self,
        u: torch.Tensor,
        c: torch.Tensor,
        weight: torch.Tensor,
        step: torch.Tensor,
        pushed: torch.Tensor | float = 0.0,
    ) -> torch.Tensor:
        """One output [B, ...] from both, of the whole batch; `pushed` is added, see `push`.

        Called where any sample needs more than one branch; of those that do not, it is not used.
        """
        return u + _like(weight, u) * (c - u) + pushed


class Rescale(Guidance):
    """Guidance whose output is pulled to the conditional output's standard deviation.

    Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps are Flawed", section 3.4;
    `phi` in [0, 1], standard deviations over all axes of a sample.
    """

    linear = False

    def __init__(self, phi: float) -> None:
        self.phi = phi

    def branches(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return weight != 1, torch.ones_like(weight, dtype=torch.bool)

    def combine(
        self,
        u: torch.Tensor,
        c: torch.Tensor,
        weight: torch.Tensor,
        step: torch.Tensor,
        pushed: torch.Tensor | float = 0.0,
    ) -> torch.Tensor:
        out = super().combine(u, c, weight, step, pushed)
        axes = tuple(range(1, out.ndim))
        rescaled = out * (c.std(axes, keepdim=True) / out.std(axes, keepdim=True))
        return self.phi * rescaled + (1 - self.phi) * out


class Projected(Guidance):
    """Adaptive projected guidance, APG: the update D_c - D_u averaged, bounded and turned.

    Sadat et al. 2024, "Eliminating Oversaturation and Artifacts of High Guidance Scales in
    Diffusion Models", arXiv:2410.02416, algorithm 1; on estimates of x0. `momentum` (beta) adds
    the average of the steps before, `threshold` (r) bounds the update's norm over a sample, `eta`
    scales its part parallel to D_c. With eta 1, no threshold and momentum 0 it is plain guidance.

    It acts where guidance amplifies (w > 1); w in [0, 1] interpolates as ever and is not averaged.
    The average moves once per step, by the step's first evaluation: a second one at the same step
    (Heun's, a zigzag's) is averaged with the same past. Steps are told apart by their level.
    """

    linear = False
    estimates = True

    def __init__(
        self, eta: float = 1.0, threshold: float | None = None, momentum: float = 0.0
    ) -> None:
        self.eta, self.threshold, self.momentum = eta, threshold, momentum
        self._step: torch.Tensor | None = None
        self._past = self._average = torch.zeros(())

    def combine(
        self,
        u: torch.Tensor,
        c: torch.Tensor,
        weight: torch.Tensor,
        step: torch.Tensor,
        pushed: torch.Tensor | float = 0.0,
    ) -> torch.Tensor:
        plain = super().combine(u, c, weight, step)
        amplifies = _like(weight > 1, c).bool()
        update = self._averaged(c - u, amplifies, step)
        axes = tuple(range(1, c.ndim))
        if self.threshold is not None:
            norm = torch.linalg.vector_norm(update, dim=axes, keepdim=True)
            update = update * (self.threshold / norm).clamp(max=1)
        toward = c / torch.linalg.vector_norm(c, dim=axes, keepdim=True).clamp(min=1e-12)
        parallel = (update * toward).sum(axes, keepdim=True) * toward
        update = update - (1 - self.eta) * parallel
        return torch.where(amplifies, c + (_like(weight, c) - 1) * update, plain) + pushed

    def _averaged(
        self, update: torch.Tensor, amplifies: torch.Tensor, step: torch.Tensor
    ) -> torch.Tensor:
        begins = self._step is None or not torch.equal(step, self._step)
        if begins:
            self._step, self._past = step, self._average.to(update)
        averaged = update + self.momentum * self._past
        if begins:
            self._average = torch.where(amplifies, averaged, self._past)
        return averaged


class Interval(Guidance):
    """Another policy inside lo < sigma <= hi, the conditional output alone outside.

    Kynkäänniemi et al. 2024, "Applying Guidance in a Limited Interval Improves Sample and
    Distribution Quality in Diffusion Models", equation 5.
    """

    def __init__(self, low: float, high: float, inner: Guidance) -> None:
        self.low, self.high, self.inner = low, high, inner
        self.linear, self.estimates = inner.linear, inner.estimates
        self.pag_scale, self.pag_layers = inner.pag_scale, inner.pag_layers

    def scale(self, guidance: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        inside, one = self._inside(step, guidance), torch.ones_like(guidance)
        return torch.where(inside, self.inner.scale(guidance, step), one)

    def push(self, guidance: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        inside, none = self._inside(step, guidance), torch.zeros_like(guidance)
        return torch.where(inside, self.inner.push(guidance, step), none)

    def _inside(self, step: torch.Tensor, guidance: torch.Tensor) -> torch.Tensor:
        return ((step > self.low) & (step <= self.high)).to(guidance.device)

    def branches(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inner.branches(weight)

    def combine(
        self,
        u: torch.Tensor,
        c: torch.Tensor,
        weight: torch.Tensor,
        step: torch.Tensor,
        pushed: torch.Tensor | float = 0.0,
    ) -> torch.Tensor:
        return self.inner.combine(u, c, weight, step, pushed)


def make_guidance(
    sigmas: torch.Tensor,
    guidance_rescale: float | None = None,
    interval: list[float] | None = None,
    interval_steps: list[int] | None = None,
    guidance_schedule: list[list[float]] | None = None,
    apg_eta: float | None = None,
    apg_threshold: float | None = None,
    apg_momentum: float | None = None,
    pag_scale: float | None = None,
    pag_layers: list[str] | None = None,
    factors: torch.Tensor | None = None,
) -> Guidance:
    """A new policy, as a sampler's common parameters ask for it, on its ladder `sigmas` [N+1].

    `interval` = [lo, hi] in sigma, a bound within 3 % of a level taken for that level;
    `interval_steps` = [a, b], step indices from 0, both ends included; one of them at most.
    `guidance_schedule` = [[sigma, factor], ...] multiplies guidance, from each level down to the
    next; `factors` [B] multiply each sample's.
    """
    policy = Rescale(guidance_rescale) if guidance_rescale else Guidance()
    if any(part is not None for part in (apg_eta, apg_threshold, apg_momentum)):
        eta = 1.0 if apg_eta is None else apg_eta
        policy = Projected(eta, apg_threshold, apg_momentum or 0.0)
    policy.schedule = _schedule(guidance_schedule) if guidance_schedule else None
    policy.factors = factors
    policy.pag_scale = pag_scale or 0.0
    policy.pag_layers = tuple(pag_layers or policy.pag_layers)
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


_ROUNDING = 1e-9  # of levels that were written as text


def _schedule(levels: list[list[float]]) -> torch.Tensor:
    schedule = torch.tensor(levels, dtype=torch.float64)
    if bool((schedule[:, 0].diff() >= 0).any()) or float(schedule[-1, 0]) < 0:
        raise HarnessError("guidance_schedule needs [sigma, factor] pairs, the highest sigma first")
    return schedule


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
