"""Whether a captured pipeline is understood: a whole short run of its own, against ours.

One step's agreement is not enough: a guidance rule that is no weighted sum can agree on one picture
by chance, and rules and times may change on the way.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch

from harness.core.errors import HarnessError, first_line
from harness.core.libraries import quiet
from harness.models.pipelines.capture.captured_model import CapturedModel
from harness.models.pipelines.capture.norms import at_norm_of
from harness.models.pipelines.capture.own_noise import our_noise
from harness.models.pipelines.capture.reading import STEPS
from harness.models.pipelines.capture.watch import replaced

TOLERANCES = {
    torch.float64: 1e-4,  # many pipelines keep their levels in float32
    torch.float32: 1e-4,
    torch.bfloat16: 1e-1,
    torch.float16: 1e-2,
}
"""The largest difference of latents after four steps, of the largest latent: their own code rounds
the state to the network's precision at every step, ours does not (on random networks that makes up
to 0.07 in bfloat16, 0.002 in float16). The guidance rule was read in float32."""

_PROMPT = "a red cube on a table"


class _Done(Exception):  # it ends a pipeline's call and is no error
    pass


@torch.inference_mode()
def check_itself(model: CapturedModel) -> dict[str, Any]:
    """Runs the pipeline's own call and ours from the same noise; the record of both.

    Raises HarnessError where the latents differ by more than their precision explains.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, *model.latent_shape(model.plan.size), generator=generator)
    scheduler = first_order(model.pipeline.scheduler)
    with quiet(), replaced_scheduler(model, scheduler):
        theirs = _theirs(model, noise)
        ours = (_by_its_steps if scheduler is None else _ours)(model, noise)
    ours = ours.reshape(theirs.shape)
    error = float((ours - theirs).abs().max() / theirs.abs().max())
    tolerance = TOLERANCES[model.dtype]
    if not error <= tolerance:
        raise HarnessError(
            f"{model.name} ({model.plan.form.name}) is not understood: after {STEPS} steps its own "
            f"latents and ours differ by {error:.2g} of their largest, more than {tolerance:g}"
        )
    return described(model) | {
        "self-check": {
            "steps": STEPS,
            "prompt": _PROMPT if model.classes is None else "class 1",
            "guidance": model.reading.weight,
            "error": error,
            "tolerance": tolerance,
            "scheduler": type(scheduler or model.pipeline.scheduler).__name__,
        }
    }


def described(model: CapturedModel) -> dict[str, Any]:
    """What was read of the pipeline, for the run's record."""
    reading, plan = model.reading, model.plan
    return {
        "pipeline": plan.form.name,
        "scheduler": type(model.pipeline.scheduler).__name__,
        "time told": list(reading.told),
        "sign": reading.sign,
        "input of state": list(reading.scales),
        "guidance of its default": reading.usual,
        "guidance at norm": reading.norm,
        "distilled guidance": plan.distilled,
        "options": dict(plan.options),
        "negative prompt": reading.negative,
    }


def first_order(scheduler: Any) -> Any | None:
    """A scheduler of the same levels whose steps are DDIM's (Euler's); None where there is none."""
    from diffusers import DDIMScheduler, EulerDiscreteScheduler

    config, name = scheduler.config, type(scheduler).__name__
    if "solver_order" in config:
        changes: dict[str, Any] = {"solver_order": 1}
        if "disable_corrector" in config:
            changes["disable_corrector"] = list(range(1000))
        if "algorithm_type" in config and config.algorithm_type.startswith("sde-"):
            changes["algorithm_type"] = config.algorithm_type.removeprefix("sde-")
        return type(scheduler).from_config(config, **changes)
    if name in ("PNDMScheduler", "DDPMScheduler"):
        return DDIMScheduler.from_config(config)
    if name in ("EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler"):
        return EulerDiscreteScheduler.from_config(config)
    return None if name in ("LCMScheduler", "TCDScheduler") else copy.deepcopy(scheduler)


@contextmanager
def replaced_scheduler(model: CapturedModel, scheduler: Any | None) -> Iterator[None]:
    own = model.pipeline.scheduler
    model.pipeline.scheduler = scheduler or copy.deepcopy(own)
    try:
        yield
    finally:
        model.pipeline.scheduler = own


def _theirs(model: CapturedModel, noise: torch.Tensor) -> torch.Tensor:
    """The latents after the pipeline's own call, which is not decoded."""
    scheduler, last = model.pipeline.scheduler, []
    own_step = scheduler.step

    def step(*args: Any, **kwargs: Any) -> Any:
        result = own_step(*args, **kwargs)
        last.append(result[0])
        if len(last) == STEPS:
            raise _Done
        return result

    what = 1 if model.plan.form.classes else _PROMPT
    question = model.question(what, STEPS)
    noise = noise.to(model.device, None if model.reading.noise.drawn else model.dtype)
    step.__wrapped__ = own_step  # type: ignore[attr-defined]  # pipelines look at its parameters
    try:
        with (
            replaced(scheduler, "step", step),
            our_noise(model.pipeline, model.reading.noise, noise) as more,
        ):
            model.pipeline(**question | more)
    except _Done:
        pass
    except Exception as error:  # whatever a pipeline raises that is not understood
        raise HarnessError(
            f"{model.name}: the pipeline's own call fails: {type(error).__name__}: "
            f"{first_line(error)}"
        ) from error
    return last[-1][: len(last[-1]) // model.reading.copies].double()


def _ours(model: CapturedModel, noise: torch.Tensor) -> torch.Tensor:
    """The latents after DDIM's steps in sigma."""
    sigmas = model.ladder(STEPS)
    x = model.start(noise, sigmas[0])
    for s, t in pairwise(sigmas):
        denoised = model.denoised(x, s, _guided(model, x, s))
        x = x + (t - s) * (x - denoised) / s
    return model.native(x, sigmas[-1]).double()


def _guided(model: CapturedModel, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    reading = model.reading
    c = model.network(x, sigma, sigma, _condition(model)).to(x.dtype)
    negative = model.encode_negative([None])
    if negative is None or reading.weight == 1:
        return c
    u = model.network(x, sigma, sigma, negative).to(x.dtype)
    guided = u + reading.weight * (c - u)
    return at_norm_of(guided, c) if reading.norm else guided


def _by_its_steps(model: CapturedModel, noise: torch.Tensor) -> torch.Tensor:
    """The latents after the scheduler's own steps on our evaluations, for one that has no DDIM."""
    sigmas = model.ladder(STEPS)
    scheduler = copy.deepcopy(model.plan.schedule.timed(STEPS))
    z = model.native(model.start(noise, sigmas[0]), sigmas[0]).to(model.dtype)
    generator = torch.Generator().manual_seed(0)
    for sigma, time in zip(sigmas, scheduler.timesteps, strict=False):
        x = _state_of(model, z, sigma)
        prediction = _guided(model, x, sigma).to(model.dtype)
        z = scheduler.step(prediction, time, z, generator=generator)[0]
    return z.double()


def _state_of(model: CapturedModel, z: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """x of the pipeline's own state, both of level sigma."""
    one = model.native(torch.ones((), dtype=torch.float64), sigma)
    return z.to(model.state_dtype) / one


def _condition(model: CapturedModel) -> dict[str, torch.Tensor]:
    return model.encode([_PROMPT if model.classes is None else "class 1"])
