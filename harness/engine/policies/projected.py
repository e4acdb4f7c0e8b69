"""Adaptive projected guidance, APG: the guidance update averaged, bounded and turned."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field

from harness.core.errors import HarnessError
from harness.engine.policies.base import GuidancePolicy, PolicyContext, policy
from harness.engine.policies.classifier_free import chosen, per_sample


def _check(params: dict[str, Any]) -> None:
    apg = [name for name in params if name.startswith("apg_")]
    if apg and params.get("guidance_rescale"):
        raise HarnessError(
            f"guidance_rescale and {apg[0]} contradict each other: both bound what guidance adds, "
            "give one"
        )


@policy(
    "apg",
    title="Adaptive projected guidance",
    paper="Sadat et al. 2024, Eliminating Oversaturation and Artifacts of High Guidance Scales in "
    "Diffusion Models, arXiv:2410.02416",
    check=_check,
    place=50,
)
class Projected(GuidancePolicy):
    """Algorithm 1, on estimates of x0. `apg_momentum` (beta) adds the average of the steps before
    to the update D_c - D_u, `apg_threshold` (r) bounds its norm over a sample, `apg_eta` scales its
    part parallel to D_c. With eta 1, no threshold and momentum 0 it is plain guidance.

    It acts where guidance amplifies (w > 1); w in [0, 1] interpolates as ever and is not averaged.
    The average moves once per step, by the step's first evaluation: a second one at the same step
    (Heun's, a zigzag's) is averaged with the same past. A step is identified by its level.
    """

    linear = False
    estimates = True

    def __init__(
        self,
        at: PolicyContext,
        *,
        apg_eta: Annotated[float, Field(ge=0, le=1)] | None = None,
        apg_threshold: Annotated[float, Field(gt=0)] | None = None,
        apg_momentum: Annotated[float, Field(gt=-1, lt=1)] | None = None,
    ) -> None:
        self.eta = 1.0 if apg_eta is None else apg_eta
        self.threshold, self.momentum = apg_threshold, apg_momentum or 0.0
        self._step: float | None = None
        self._past: torch.Tensor | float = 0.0
        self._average: torch.Tensor | float = 0.0

    def combined(
        self,
        guided: torch.Tensor,
        branches: tuple[torch.Tensor, torch.Tensor],
        scale: torch.Tensor,
        step: float,
    ) -> torch.Tensor:
        u, c = branches
        update = self._averaged(c - u, scale > 1, step)
        axes = tuple(range(1, c.ndim))
        if self.threshold is not None:
            norm = torch.linalg.vector_norm(update, dim=axes, keepdim=True)
            update = update * (self.threshold / norm).clamp(max=1)
        toward = c / torch.linalg.vector_norm(c, dim=axes, keepdim=True).clamp(min=1e-12)
        parallel = (update * toward).sum(axes, keepdim=True) * toward
        update = update - (1 - self.eta) * parallel
        return chosen(scale > 1, c + (per_sample(scale, c) - 1) * update, guided)

    def _averaged(self, update: torch.Tensor, amplifies: torch.Tensor, step: float) -> torch.Tensor:
        begins = step != self._step
        if begins:
            self._step, self._past = step, self._average
        averaged = update + self.momentum * self._past
        if begins:
            self._average = chosen(amplifies, averaged, self._past)
        return averaged
