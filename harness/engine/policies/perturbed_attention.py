"""Perturbed-attention guidance, PAG: away from its output without self-attention."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from harness.core.errors import HarnessError
from harness.engine.policies.base import GuidancePolicy, PolicyContext, policy
from harness.models.base import Network


def _check(params: dict[str, Any]) -> None:
    if params.get("pag_layers") and not params.get("pag_scale"):
        raise HarnessError("pag_layers has no effect without pag_scale: give both, or neither")


@policy(
    "pag",
    title="Perturbed-attention guidance",
    paper="Ahn et al. 2024, Self-Rectifying Diffusion Sampling with Perturbed-Attention Guidance, "
    "arXiv:2403.17377",
    check=_check,
    place=60,
)
class PerturbedAttention(GuidancePolicy):
    """`pag_scale` (s) times (c - p) is added, p the conditional output of the network
    whose self-attention maps in `pag_layers` (by default the middle block's) are the identity."""

    def __init__(
        self,
        at: PolicyContext,
        *,
        pag_scale: Annotated[float, Field(ge=0)] | None = None,
        pag_layers: Annotated[list[str], Field(min_length=1)] | None = None,
    ) -> None:
        self.strength = pag_scale or 0.0
        self.branch = "perturbed" if pag_scale else None
        self._layers = tuple(pag_layers or ("mid",))
        self._altered: dict[int, Network] = {}

    def altered(self, network: Network) -> Network:
        """See models/pipelines/hooks/perturbed.py."""
        if not hasattr(network, "perturbed"):
            raise HarnessError(
                f"{network.name} has no self-attention to perturb: pag_scale needs a diffusers "
                "pipeline, such as a Stable Diffusion"
            )
        if id(network) not in self._altered:
            self._altered[id(network)] = network.perturbed(self._layers)
        return self._altered[id(network)]
