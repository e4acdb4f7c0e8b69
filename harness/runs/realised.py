"""Realised guidance, a diagnostic: each step's displacement as a guidance scale at its start.

The nominal scale (probes/coefficients.py) adds up weights, as if all evaluations of a step saw one
state. Here the step's displacement without fresh noise, over d sigma, is regressed on what guidance
would have done at the step's first state:

    sum_j a_j e_j / sum_j a_j  =  u + s (c - u) + rest,

with e_j the noise predictions that the sampler got and u, c the first evaluation's branches. The
unexplained share is |rest|^2 over that of the left side minus u.

Beside it, as `ga_eval`, the estimate that "Guidance Matters" published: see ga_eval.py.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.engine.policies.like import check_alone
from harness.engine.probes.coefficients import Coefficients, nominal_guidance, sampler_coefficients
from harness.engine.probes.ga_eval import ALTERING, GaEval
from harness.models.base import Network
from harness.runs.batch_size import images_at_once
from harness.runs.folder import Settings
from harness.runs.loaded import open_models
from harness.runs.plan import PlannedRun
from harness.runs.single import Request, streams


@dataclass(frozen=True)
class Realised:
    """By step: `sigma` [n], and of each picture [n, B] the `nominal` and the `realised` scale and
    the `unexplained` share; NaN where the branches are one, or only one was evaluated.

    `ga_eval` [n, B] is that estimate, a step's mean over its rounds, NaN where a step is not
    altered, and `ga_eval_mean` [B] the pictures'; None for samplers that do not alter steps.
    """

    sigma: torch.Tensor
    nominal: torch.Tensor
    realised: torch.Tensor
    unexplained: torch.Tensor
    ga_eval: torch.Tensor | None
    ga_eval_mean: torch.Tensor | None


class _Kept(GaEval):
    """Keeps every evaluation's predictions of unit noise [B, ...]: of u, c, and as guided."""

    def __init__(self, step: torch.Tensor, network: Network) -> None:
        super().__init__(step, network)
        self.predictions: list[tuple[torch.Tensor, ...]] = []

    def see(
        self,
        weight: torch.Tensor,
        estimates: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        at: tuple[torch.Tensor, torch.Tensor],
        both: torch.Tensor,
        *,
        plain: bool,
    ) -> None:
        super().see(weight, estimates, at, both, plain=plain)
        x, sigma = at
        noise = [((x - one) / sigma.to(x)).double().cpu() for one in estimates]
        self.predictions.append(tuple(noise))


def realised_guidance(job: PlannedRun, request: Request, settings: Settings) -> Realised:
    """Sample every row of the request and measure its steps.

    Raises HarnessError where guidance is no weight of c - u of one network.
    """
    spec = job.spec
    if spec.guide is not None or not job.entry.unconditional:
        raise HarnessError(
            f"{job.entry.name} has no guidance scale here: guidance leads away from another "
            "network, or there is no unconditional branch"
        )
    check_alone(spec.sampler)
    torch.set_num_threads(settings.threads)
    models = open_models(job, settings.device, tf32=settings.tf32)
    coefficients = sampler_coefficients(job.planner.ladders, spec.sampler)
    parts = []
    size = images_at_once(models, job, settings, request.prompts[0])
    for first in range(0, len(request.prompts), size):
        rows = slice(first, first + size)
        kept = _Kept(coefficients.step, models.model)
        noise = streams(job, request, rows, models.model)
        models.run(
            spec.sampler,
            request.prompts[rows],
            request.negatives[rows],
            noise,
            request.notes[rows],
            kept,
        )
        parts.append(_measured(coefficients, kept, spec.sampler))
    together: list[Any] = []
    for field in fields(Realised)[1:]:
        values = [getattr(part, field.name) for part in parts]
        together.append(None if values[0] is None else torch.cat(values, dim=-1))
    return Realised(parts[0].sigma, *together)


def _measured(coefficients: Coefficients, kept: _Kept, call: Call) -> Realised:
    scales, pushes = kept.stacked()
    nominal = nominal_guidance(coefficients, scales, pushes)
    realised, unexplained = [], []
    for group in coefficients.steps:
        a = coefficients.coefficient[group]
        known = (~pushes[group].isnan().all(1)).nonzero()[:, 0]
        at = group.start + (int(known[0]) if len(known) else 0)
        u, c, _ = kept.predictions[at]
        moved = sum(w * e[2] for w, e in zip(a, kept.predictions[group], strict=True)) / a.sum()
        s, rest = _regressed((moved - u).flatten(1), (c - u).flatten(1))
        realised.append(s)
        unexplained.append(rest)
    common = (nominal.sigma, nominal.scale, torch.stack(realised), torch.stack(unexplained))
    if call.name not in ALTERING:
        return Realised(*common, None, None)
    none = torch.full_like(realised[0], torch.nan)
    estimates = [
        torch.stack([s.cpu() for at, s in kept.rounds if at == sigma] or [none]).nanmean(0)
        for sigma in nominal.sigma.tolist()
    ]
    return Realised(*common, torch.stack(estimates), kept.scale(call.params["guidance"]))


def _regressed(y: torch.Tensor, d: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The weight s [B] of y on d, both [B, F], and the share of |y|^2 that is left; NaN without
    d."""
    square = (d**2).sum(1)
    s = torch.where(square > 0, (y * d).sum(1) / square, torch.nan)
    rest = ((y - s[:, None] * d) ** 2).sum(1) / (y**2).sum(1)
    return s, rest
