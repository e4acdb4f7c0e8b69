"""Z-Sampling: after each step, invert it under weak guidance and take it again."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from harness.core.errors import HarnessError
from harness.samplers.base import Count, Denoise, Noise, epsilon, sampler
from harness.samplers.released import check_released, released_inversion

log = logging.getLogger(__name__)


def _check(params: dict[str, Any]) -> None:
    steps, zigzags = params["steps"], params.get("zigzag_steps")
    if zigzags is not None and zigzags > steps - 1:
        raise HarnessError(
            f"zigzag_steps={zigzags} with steps={steps}: the last step never zigzags, "
            f"so at most {steps - 1}"
        )
    if params["inversion"] == "released" and params["guidance"] <= 1:
        log.warning(
            "zigzag: with guidance <= 1 the released code runs without guidance and ignores "
            "inversion_guidance, and so does inversion=released"
        )


@sampler(
    "zigzag",
    title="Z-Sampling",
    paper="Bai et al. 2025, Zigzag Diffusion Sampling, arXiv:2412.10891",
    check=_check,
)
def zigzag(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    noise: Noise,
    *,
    guidance: float = 5.5,
    inversion_guidance: float = 0.0,
    zigzag_steps: Annotated[int, Field(ge=0)] | None = None,
    rounds: Count = 1,
    inversion: Literal["exact", "released"] = "exact",
) -> torch.Tensor:
    """Algorithm 1; guidance is gamma_1, inversion_guidance gamma_2, zigzag_steps lambda, rounds
    T_max.

    The inversion evaluates the network at the cleaner state, conditioned on the step's own level.
    `exact` inverts as the paper says; `released` as the published code computes, see released.py.
    """
    last = len(sigmas) - 2
    zigzags = last if zigzag_steps is None else zigzag_steps
    if inversion == "released":
        check_released(sigmas)
        if guidance <= 1:
            guidance = inversion_guidance = 1.0
    for i, (s, t) in enumerate(pairwise(sigmas)):
        z = x + (t - s) * epsilon(x, denoise(x, s, guidance=guidance), s)
        for _ in range(rounds if i < zigzags else 0):
            if inversion == "exact":
                weak = denoise(z, t, guidance=inversion_guidance, time=s, step=s)
                x = z + (s - t) * epsilon(z, weak, t)
            else:
                x = released_inversion(denoise, z, (s, t, sigmas[i + 2]), inversion_guidance)
            z = x + (t - s) * epsilon(x, denoise(x, s, guidance=guidance), s)
        x = z
    return x
