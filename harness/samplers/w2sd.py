"""Weak-to-strong diffusion: step with a strong model, go back with a weak one, then step."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from harness.core.errors import HarnessError
from harness.samplers.base import Denoise, Noise, Unadjusted, Variant, epsilon, sampler
from harness.samplers.released import check_released, released_inversion


def _check(params: dict[str, Any]) -> None:
    scales = [name for name in ("strong_scale", "weak_scale", "scale") if name in params]
    if "lora" not in params and scales:
        raise HarnessError(f"w2sd: {scales[0]} is the scale of a LoRA: give lora=FILE")
    if "lora" in params and len(scales) < 3:
        raise HarnessError("w2sd with a LoRA needs strong_scale, weak_scale and scale")
    if "lora" in params and "weak_model" in params:
        raise HarnessError("w2sd: lora and weak_model contradict each other: give one")
    steps, reflections = params["steps"], params.get("zigzag_steps")
    if reflections is not None and reflections > steps - 1:
        raise HarnessError(
            f"zigzag_steps={reflections} with steps={steps}: the last step never reflects, "
            f"so at most {steps - 1}"
        )


def _variants(params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    if "weak_model" in params:
        return {"weak": {"model": params["weak_model"]}}
    if "lora" not in params:
        return {}
    scales = {"strong": "strong_scale", "weak": "weak_scale", "main": "scale"}
    return {name: {"lora": params["lora"], "scale": params[key]} for name, key in scales.items()}


@sampler(
    "w2sd",
    title="W2SD",
    paper="Bai et al. 2025, Weak-to-Strong Diffusion with Reflection, arXiv:2502.00473",
    check=_check,
    variants=_variants,
    needs=("variant", "unadjusted"),
)
def w2sd(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    noise: Noise,
    *,
    variant: Variant,
    unadjusted: Unadjusted,
    guidance: float = 5.5,
    strong_guidance: float = 5.5,
    weak_guidance: float = 1.0,
    lora: str | None = None,
    strong_scale: float | None = None,
    weak_scale: float | None = None,
    scale: float | None = None,
    weak_model: str | None = None,
    zigzag_steps: Annotated[int, Field(ge=0)] | None = None,
    inversion: Literal["exact", "released"] = "exact",
) -> torch.Tensor:
    """Algorithm 1: before each step but the last, reflect: a step of the strong model forward and
    one of the weak model back. Weak and strong differ by guidance, by the scale of a LoRA, or
    because `weak_model` is another model; all of these may be combined but the last two.

    `zigzag_steps` is the paper's lambda: only so many first steps reflect, so that T / 2 steps with
    lambda = T / 4 cost what T plain ones do (section 5.2). `released` inverts as the published code
    does, see released.py, and like it applies `guidance_rescale` to the step alone and not to the
    reflection. With one step there is no reflection; the published code then never switches the
    LoRA on, and here its `scale` acts.
    """
    last = len(sigmas) - 2
    reflections = last if zigzag_steps is None else zigzag_steps
    strong, weak = variant("strong"), variant("weak")
    if inversion == "released":
        check_released(sigmas)
        strong, weak = unadjusted(strong), unadjusted(weak)
    for i, (s, t) in enumerate(pairwise(sigmas)):
        if i < reflections:
            z = x + (t - s) * epsilon(x, strong(x, s, guidance=strong_guidance), s)
            if inversion == "exact":
                back = weak(z, t, guidance=weak_guidance, time=s, step=s)
                x = z + (s - t) * epsilon(z, back, t)
            else:
                x = released_inversion(weak, z, (s, t, sigmas[i + 2]), weak_guidance)
        x = x + (t - s) * epsilon(x, denoise(x, s, guidance=guidance), s)
    return x
