"""Tangential classifier-free guidance, TCFG: without what u has that c has not."""

from __future__ import annotations

from typing import Any

import torch

from harness.core.errors import HarnessError
from harness.engine.policies.base import GuidancePolicy, PolicyContext, policy
from harness.engine.policies.classifier_free import chosen, per_sample


def _check(params: dict[str, Any]) -> None:
    if params.get("tcfg") and (apg := [name for name in params if name.startswith("apg_")]):
        raise HarnessError(
            f"tcfg and {apg[0]} contradict each other: both turn what guidance adds, give one"
        )


@policy(
    "tcfg",
    title="Tangential classifier-free guidance",
    paper="Kwon et al. 2025, TCFG: Tangential Damping Classifier-free Guidance, arXiv:2503.18137",
    check=_check,
    place=54,
)
class Tangential(GuidancePolicy):
    """u is replaced by its part along the first right singular vector of (c, u), over a sample.

    On the network's own outputs, by diffusers' function. It acts where guidance amplifies (w > 1).
    """

    def __init__(self, at: PolicyContext, *, tcfg: bool | None = None) -> None:
        self.outputs, self.linear = bool(tcfg), not tcfg

    def combined(
        self,
        guided: torch.Tensor,
        branches: tuple[torch.Tensor, torch.Tensor],
        scale: torch.Tensor,
        step: float,
    ) -> torch.Tensor:
        from diffusers.guiders.tangential_classifier_free_guidance import normalized_guidance

        if self.linear:
            return guided
        u, c = branches
        weight: Any = per_sample(scale, c)  # one a sample, where diffusers' have one for all
        return chosen(scale > 1, normalized_guidance(c, u, weight), guided)
