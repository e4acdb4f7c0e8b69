"""The nominal guidance scale of a sampler: its coefficients of the network's predictions.

A sampler that works in sigma is affine in the network's noise predictions: what it returns is a
sum of them with coefficients that do not depend on the picture. So a run with one-hot predictions
in place of a network's tells every evaluation's coefficient a_j, and with w_j the guidance applied
to it, the run amounts to one guided at a signed mean of them, see core/nominal_scale.py. Step by
step, for the eye and for schedules, that is

    sum_j a_j w_j / sum_j a_j,

which is w for Euler, Heun, multistep and ancestral steps, and 2 gamma_1 - gamma_2 for a zigzag of
Z-Sampling: there, three predictions with the coefficients 1, -1 and 1. Jumps add noise, no
predictions, so they are no steps.

A sampler that clamps, thresholds or normalises predictions is no such sum. Random predictions
show it, whatever the guidance policy: that works inside the denoiser, on one prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.nominal_scale import Evaluations, run_scale
from harness.engine.applied import Applied
from harness.engine.denoiser import Denoiser, level_of
from harness.engine.probes.independence import dry_images
from harness.engine.rehearsal import rehearsed
from harness.models.base import Ladders

_NOTHING = 1e-12  # a sum of coefficients that cancel, against the ladder's highest sigma
_ROUNDING = 1e-4  # of a sum in float32, with a wide margin: of our samplers, below 2e-15


class NotAffine(HarnessError):
    """A sampler's result is not affine in the network's predictions."""


@dataclass(frozen=True)
class Coefficients:
    """A sampler's coefficients of its evaluations' noise predictions, in order.

    `step` [K]: the ladder level, in sigma, at which each one's step began. `coefficient` [K]: of
    its noise prediction in what the sampler returns; 0 where that does not depend on it.
    `guidance` [K]: the scale that the sampler's policy applies to it, where that is a plain weight.
    `level` [K]: the level of the state that it is given.
    """

    step: torch.Tensor
    coefficient: torch.Tensor
    guidance: torch.Tensor
    level: torch.Tensor

    @property
    def steps(self) -> list[slice]:
        """The evaluations of each step: neighbours that began at one level, and where some lead
        back up to an earlier one, all until the step is made up for.

        Without those that cancel, or have no effect on the result.
        """
        starts = [0, *(torch.diff(self.step).nonzero()[:, 0] + 1).tolist(), len(self.step)]
        least = _NOTHING * float(self.step.max())
        groups: list[slice] = []
        behind = 0.0
        for start, stop in pairwise(starts):
            moved = float(self.coefficient[start:stop].sum())
            again = stop < len(self.step) and bool(self.step[stop] > self.step[start])
            if groups and (behind > least or (moved > least and again)):
                groups[-1] = slice(groups[-1].start, stop)
                behind += moved
            else:
                groups.append(slice(start, stop))
        return [g for g in groups if abs(float(self.coefficient[g].sum())) > least]


@dataclass(frozen=True)
class GuidanceCurve:
    """The nominal guidance scale of a batch's runs, step by step.

    `sigma` [n], `travel` [n] (|d sigma|), `scale` [n, B], and `push` [n, B], the norm of c - u, NaN
    where that is unknown. Steps whose coefficients cancel, or have no effect on the result, are
    left out. `mean` [B] are the scales of the whole runs, from all `evaluations` at once; NaN where
    scales differ and a push is unknown, or the evaluations cancel.
    """

    sigma: torch.Tensor
    travel: torch.Tensor
    scale: torch.Tensor
    push: torch.Tensor
    evaluations: Evaluations
    mean: torch.Tensor


def nominal_guidance(
    coefficients: Coefficients, scales: torch.Tensor, pushes: torch.Tensor
) -> GuidanceCurve:
    """The curve of `scales` applied at each evaluation, and of `pushes`, both [K, B].

    A step's push is the mean of those of its evaluations that are known.
    """
    a, groups = coefficients.coefficient, coefficients.steps
    parts = (coefficients.level, a, scales, pushes)
    evaluations = Evaluations(*(part.double().numpy() for part in parts))
    return GuidanceCurve(
        torch.stack([coefficients.step[g.start] for g in groups]),
        torch.stack([a[g].sum().abs() for g in groups]),
        torch.stack([(a[g, None] * scales[g]).sum(0) / a[g].sum() for g in groups]),
        torch.stack([pushes[g].nanmean(0) for g in groups]),
        evaluations,
        torch.from_numpy(run_scale(evaluations)[0]),
    )


def measured_guidance(coefficients: Coefficients, applied: Applied) -> GuidanceCurve:
    """The curve of a batch that was sampled."""
    return nominal_guidance(coefficients, *applied.stacked())


def sampler_coefficients(ladders: Ladders, call: Call) -> Coefficients:
    """The coefficients of a resolved sampler on the ladder of a model that has both branches.

    Needs no weights. AsynDM's masks are those of attention that is alike everywhere. Raises
    NotAffine where there are none, and HarnessError as `rehearse` does.
    """
    count = len(rehearsed(_OneHot, ladders, call)[0].calls)
    probe, _, result = rehearsed(_OneHot, ladders, call, count)
    step, guidance, level = torch.tensor(probe.calls, dtype=torch.float64).T
    found = Coefficients(step, result.mean((0, 2, 3)), guidance, level)
    _check_affine(ladders, call, found)
    return found


def _check_affine(ladders: Ladders, call: Call, found: Coefficients) -> None:
    """Raise NotAffine unless random predictions, large and small, give the expected sum."""
    for kind in (_Large, _Small):
        probe, _, result = rehearsed(kind, ladders, call, _WIDTH)
        if len(probe.made) == len(found.coefficient):
            parts = found.coefficient.reshape(-1, 1, 1, 1, 1) * torch.stack(probe.made)
            if bool(((result - parts.sum(0)).abs() <= _ROUNDING * parts.abs().sum(0)).all()):
                continue
        raise NotAffine(f"no guidance scale: {_why_not(ladders, call)}")


def _why_not(ladders: Ladders, call: Call) -> str:
    if not dry_images(ladders, call, [0]).isfinite().all():
        return f"what {call.name} returns is not finite (NaN or infinite) in a dry run"
    return (
        f"{call.name} is no sum of the network's predictions; it clamps, thresholds or normalises "
        "them, perhaps"
    )


class _Answering(Denoiser):
    """A denoiser of made-up noise predictions; `calls` holds each one's step, guidance, level."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.calls: list[tuple[float, float, float]] = []

    def prediction(self, like: torch.Tensor) -> torch.Tensor:
        """The noise prediction [B, ...] of the last call."""
        raise NotImplementedError

    def __call__(
        self,
        x: torch.Tensor,
        sigma: torch.Tensor | float,
        guidance: torch.Tensor | float = 1.0,
        time: torch.Tensor | float | None = None,
        step: torch.Tensor | float | None = None,
    ) -> torch.Tensor:
        super().__call__(x, sigma, guidance, time, step)
        began = level_of(sigma if step is None else step)
        asked = torch.as_tensor(guidance, dtype=torch.float64).reshape(1)
        scale = float(self.policy.scale(asked, began))
        self.calls.append((began, scale, level_of(sigma)))
        return x - torch.as_tensor(sigma).to(x) * self.prediction(x)


class _OneHot(_Answering):
    """The j-th call's prediction is 1 in channel j and 0 in the others."""

    def prediction(self, like: torch.Tensor) -> torch.Tensor:
        found = torch.zeros_like(like)
        found[:, min(len(self.calls), like.shape[1]) - 1] = 1
        return found


_WIDTH = 64


class _Large(_Answering):
    """Normal predictions times 0.01 to 100, uniform on a log scale; kept in `made`."""

    scale = 1.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.made: list[torch.Tensor] = []
        self._draws = torch.Generator().manual_seed(0)

    def prediction(self, like: torch.Tensor) -> torch.Tensor:
        size = 4 * torch.rand(like.shape, generator=self._draws, dtype=torch.float64) - 2
        normal = torch.randn(like.shape, generator=self._draws, dtype=torch.float64)
        self.made.append(self.scale * normal * 10**size)
        return self.made[-1].to(like)


class _Small(_Large):
    """The same, a thousandth of it."""

    scale = 1e-3
