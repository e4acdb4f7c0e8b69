"""What policies share that lead away from an altered network's output."""

from __future__ import annotations

from harness.core.errors import HarnessError
from harness.engine.policies.base import GuidancePolicy
from harness.models.base import Network
from harness.models.pipelines.hooks.altered import Change


class FurtherBranch(GuidancePolicy):
    """`scale` times (c - p) is added, p the conditional output of the network under a change.

    Evaluations of p are counted as `branch`; `setting` is the parameter that asks for them.
    """

    def __init__(self, scale: float | None, branch: str, change: Change, setting: str) -> None:
        self.strength = scale or 0.0
        self.branch = branch if scale else None
        self._change, self._setting = change, setting
        self._altered: dict[int, Network] = {}

    def altered(self, network: Network) -> Network:
        """See models/pipelines/hooks."""
        if not hasattr(network, "altered"):
            raise HarnessError(
                f"{network.name} has no layers to alter: {self._setting} needs a diffusers "
                "pipeline, such as a Stable Diffusion"
            )
        if id(network) not in self._altered:
            self._altered[id(network)] = network.altered(self._change)
        return self._altered[id(network)]
