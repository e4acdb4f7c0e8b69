"""CFG-Zero*: the unconditional output scaled to fit the conditional one, and zeros at first."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field

from harness.core.errors import HarnessError
from harness.engine.policies.base import GuidancePolicy, PolicyContext, policy
from harness.engine.policies.classifier_free import chosen, per_sample


def _check(params: dict[str, Any]) -> None:
    if not params.get("cfg_zero_star"):
        if "zero_init_steps" in params:
            raise HarnessError(
                "zero_init_steps has no effect without cfg_zero_star: give both, or neither"
            )
        return
    named = [name for name in params if name.startswith("apg_")]
    named += ["tcfg"] if params.get("tcfg") else []
    if named:
        raise HarnessError(
            f"cfg_zero_star and {named[0]} contradict each other: both change what guidance adds, "
            "give one"
        )


@policy(
    "cfg_zero_star",
    title="CFG-Zero*",
    paper="Fan et al. 2025, CFG-Zero*: Improved Classifier-Free Guidance for Flow Matching Models, "
    "arXiv:2503.18886",
    check=_check,
    place=52,
)
class ZeroStar(GuidancePolicy):
    """Guidance leads away from s u, with s = <c, u> / |u|^2 the scale that brings u nearest to c
    (section 4.1); in the first `zero_init_steps` steps (0 by default) the output is zero (4.2).

    On the network's own outputs, velocities of a flow, by diffusers' function. It acts where
    guidance amplifies (w > 1).
    """

    outputs = True

    def __init__(
        self,
        at: PolicyContext,
        *,
        cfg_zero_star: bool | None = None,
        zero_init_steps: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        self.linear = not cfg_zero_star
        self.outputs = bool(cfg_zero_star)
        starts = at.sigmas[:-1]
        skipped = zero_init_steps or 0
        if skipped >= len(starts):
            raise HarnessError(
                f"zero_init_steps={skipped} leaves none of {len(starts)} steps to take"
            )
        self._from = float(starts[skipped])

    def combined(
        self,
        guided: torch.Tensor,
        branches: tuple[torch.Tensor, torch.Tensor],
        scale: torch.Tensor,
        step: float,
    ) -> torch.Tensor:
        from diffusers.guiders.classifier_free_zero_star_guidance import cfg_zero_star_scale

        if self.linear:
            return guided
        u, c = branches
        if step > self._from:
            return chosen(scale > 1, torch.zeros_like(c), guided)
        fitted = (
            cfg_zero_star_scale(c.flatten(1), u.flatten(1)).reshape(-1, *[1] * (u.ndim - 1)) * u
        )
        return chosen(scale > 1, fitted + per_sample(scale, c) * (c - fitted), guided)
