"""Guidance-distilled networks, which take the guidance scale as an input.

Meng et al. 2023, "On Distillation of Guided Diffusion Models", arXiv:2210.03142, as latent
consistency models have it (Luo et al. 2023, arXiv:2310.04378). What such a network returns is
guided already, and what it was guided with is no part of its file: it must be declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

from harness.core.errors import HarnessError
from harness.core.run_spec import DISTILLED


def distilled_guidance(network: Mapping[str, Any], overrides: Mapping[str, Any]) -> float | None:
    """The declared scale of a network of this configuration; None if it takes none.

    Raises HarnessError where it takes one and none is declared, where one is declared and it takes
    none, and for an invalid scale.
    """
    scale, takes = overrides.get(DISTILLED), network.get("time_cond_proj_dim") is not None
    if takes and scale is None:
        raise HarnessError(
            "this network is distilled for guidance, which is an input of it: declare it, for "
            f"example MODEL({DISTILLED}=8)"
        )
    if scale is None:
        return None
    if not takes:
        raise HarnessError(f"{DISTILLED}: this network does not take guidance as an input")
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 1 <= scale < inf:
        raise HarnessError(f"{DISTILLED}={scale!r} must be a guidance scale of at least 1")
    return float(scale)
