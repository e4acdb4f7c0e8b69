"""Guidance at the conditional output's norm, as some transformers' pipelines have it."""

from __future__ import annotations

from typing import Any

import torch

from harness.core.errors import HarnessError
from harness.engine.policies.base import GuidancePolicy, PolicyContext, policy
from harness.models.pipelines.capture.norms import at_norm_of


def _check(params: dict[str, Any]) -> None:
    others = [name for name in params if name == "guidance_rescale" or name.startswith("apg_")]
    if params.get("guidance_norm") and others:
        raise HarnessError(
            f"guidance_norm and {others[0]} contradict each other: where the model has the former "
            "by itself, write guidance_norm=false"
        )


@policy(
    "norm",
    title="Guidance at the conditional's norm",
    paper="Qwen-Image's and Lumina 2's pipelines in diffusers",
    check=_check,
    place=11,
)
class ConditionalNorm(GuidancePolicy):
    """The output is rescaled to the conditional output's norm along the last axis: of packed
    states over the numbers of a token, of maps over a line of pixels."""

    def __init__(self, at: PolicyContext, *, guidance_norm: bool | None = None) -> None:
        self.acting = bool(guidance_norm)
        self.linear, self.conditional = not self.acting, self.acting

    def adjusted(self, guided: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return at_norm_of(guided, c) if self.acting else guided
