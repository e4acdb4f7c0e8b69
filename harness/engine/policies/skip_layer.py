"""Skip-layer guidance, SLG: away from the output without some transformer blocks."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from harness.core.errors import HarnessError
from harness.engine.policies.base import PolicyContext, policy
from harness.engine.policies.further_branch import FurtherBranch
from harness.models.pipelines.hooks.skipped import SkippedBlocks

Index = Annotated[int, Field(ge=0)]


def _check(params: dict[str, Any]) -> None:
    if params.get("slg_scale"):
        if "slg_layers" not in params:
            raise HarnessError(
                "slg_scale needs the blocks to skip: for Stable Diffusion 3.5 medium "
                "slg_layers=[7, 8, 9]"
            )
        return
    if idle := [name for name in ("slg_layers", "slg_steps") if name in params]:
        raise HarnessError(f"{idle[0]} has no effect without slg_scale: give both, or neither")


@policy(
    "slg",
    title="Skip-layer guidance",
    paper="Hyung et al. 2024, Spatiotemporal Skip Guidance, arXiv:2411.18664, as Stable Diffusion "
    "3.5 has it",
    check=_check,
    place=62,
)
class SkipLayer(FurtherBranch):
    """`slg_scale` (s) times (c - p) is added, p the conditional output of the network without the
    transformer blocks `slg_layers`; at the steps `slg_steps` = [a, b] alone, from 0, both included.
    """

    def __init__(
        self,
        at: PolicyContext,
        *,
        slg_scale: Annotated[float, Field(ge=0)] | None = None,
        slg_layers: Annotated[list[Index | str], Field(min_length=1)] | None = None,
        slg_steps: Annotated[list[Index], Field(min_length=2, max_length=2)] | None = None,
    ) -> None:
        super().__init__(slg_scale, "skipped", SkippedBlocks(slg_layers or ()), "slg_scale")
        first, last = slg_steps or (0, len(at.sigmas) - 2)
        if not first <= last < len(at.sigmas) - 1:
            raise HarnessError(
                f"slg_steps [{first}, {last}] must lie within steps 0 to {len(at.sigmas) - 2}"
            )
        self._low, self._high = float(at.sigmas[last + 1]), float(at.sigmas[first])

    def pushes(self, step: float) -> bool:
        return self._low < step <= self._high
