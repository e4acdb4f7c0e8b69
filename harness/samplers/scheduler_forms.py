"""How diffusers' schedulers hold a state, its levels and the model's output; and their loop.

A scheduler is placed on our ladder by its own arrays, whatever ladder it would make itself, and is
given D in the form that it reads. Its states are x times a factor of sigma.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any, NamedTuple

import torch

from harness.core.errors import HarnessError
from harness.samplers.base import Clock, Denoise, Noise, epsilon


class Evaluation(NamedTuple):
    """One evaluation: the scheduler's name for it, its level, and the level of its step's start."""

    timestep: Any
    sigma: torch.Tensor
    began: torch.Tensor


Place = Callable[[Any, torch.Tensor, Clock], Sequence[Evaluation]]
"""Puts a scheduler on a ladder; its evaluations in order."""


@dataclass(frozen=True)
class Form:
    """What the states and outputs of some scheduler classes are.

    `scale` gives the factor of x at a level, `output` what the class reads, from x, D and sigma;
    `prediction` is its name of that.
    """

    scale: Callable[[torch.Tensor], torch.Tensor]
    output: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    place: Place
    prediction: str | None = None


def run_scheduler(
    scheduler: Any,
    form: Form,
    start: tuple[Denoise, torch.Tensor, torch.Tensor, Noise],
    clock: Clock,
    guidance: float,
    *,
    ends_by_euler: bool = False,
    **told: Any,
) -> torch.Tensor:
    """The state x at the ladder's last level; `told` goes to the class's `step`.

    `ends_by_euler`: the last step, to sigma 0, is Euler's and so ends at D, for a class that cannot
    take it.
    """
    denoise, x, sigmas, noise = start
    _draw_from(scheduler, noise)
    z = x * form.scale(sigmas[0]).to(x.dtype)
    evaluations = form.place(scheduler, sigmas, clock)
    for at, (timestep, s, began) in enumerate(evaluations, 1):
        x = z / form.scale(s).to(z.dtype)
        d = denoise(x, s, guidance=guidance, step=began)
        if ends_by_euler and at == len(evaluations):
            return d
        output = form.output(x, d, s)
        z = scheduler.step(output, timestep, z, return_dict=False, **told)[0].to(z.dtype)
    return z / form.scale(sigmas[-1]).to(z.dtype)


def _draw_from(scheduler: Any, noise: Noise) -> None:
    """Let the scheduler's `step` draw each image's own noise.

    Its function is bound anew with another `randn_tensor`, to this object only: a patched module
    would be everybody's.
    """

    def draw(shape: Sequence[int], dtype: torch.dtype | None = None, **_: Any) -> torch.Tensor:
        return noise().to(dtype=dtype)

    step = type(scheduler).step
    names = {**step.__globals__, "randn_tensor": draw}
    drawing = FunctionType(step.__code__, names, step.__name__, step.__defaults__, step.__closure__)
    scheduler.step = MethodType(drawing, scheduler)


def _put(scheduler: Any, sigmas: torch.Tensor, timesteps: torch.Tensor, steps: int) -> None:
    scheduler.sigmas, scheduler.timesteps = sigmas, timesteps
    scheduler.num_inference_steps = steps
    scheduler.is_scale_input_called = True  # else some warn: their scaling is `scale` here
    scheduler.set_begin_index(0)


def _numbers(count: int) -> torch.Tensor:
    """Times that only tell evaluations apart; some classes refuse whole numbers."""
    return torch.arange(count, 0, -1, dtype=torch.float32)


def one_each(scheduler: Any, sigmas: torch.Tensor, clock: Clock) -> list[Evaluation]:
    """One evaluation a step, at the level where it begins."""
    _put(scheduler, sigmas, _numbers(len(sigmas) - 1), len(sigmas) - 1)
    return _each(scheduler.timesteps, sigmas)


def _each(timesteps: Sequence[Any], sigmas: torch.Tensor) -> list[Evaluation]:
    return [Evaluation(t, s, s) for t, s in zip(timesteps, sigmas, strict=False)]


def by_level(scheduler: Any, sigmas: torch.Tensor, clock: Clock) -> list[Evaluation]:
    """One evaluation a step, which has its level for a time."""
    _put(scheduler, sigmas, sigmas[:-1], len(sigmas) - 1)
    return _each(scheduler.timesteps, sigmas)


def single_step(scheduler: Any, sigmas: torch.Tensor, clock: Clock) -> list[Evaluation]:
    """One evaluation a level; steps of order k span k of them."""
    scheduler.order_list = scheduler.get_order_list(len(sigmas) - 1)
    return one_each(scheduler, sigmas, clock)


def flow_times(scheduler: Any, sigmas: torch.Tensor, clock: Clock) -> list[Evaluation]:
    """One evaluation a step, levels as the times t of z = (1 - t) x0 + t n."""
    found = one_each(scheduler, sigmas, clock)
    scheduler.sigmas = sigmas / (1 + sigmas)
    return found


def table(scheduler: Any, sigmas: torch.Tensor, clock: Clock) -> list[Evaluation]:
    """One evaluation a step, of a class that knows alpha-bar only: its table is the ladder."""
    abar = 1 / (1 + sigmas**2)
    scheduler.alphas_cumprod, scheduler.final_alpha_cumprod = abar[:-1].flip(0), abar[-1]
    scheduler.num_inference_steps = len(sigmas) - 1
    return _each(range(len(sigmas) - 2, -1, -1), sigmas)


def whole_times(scheduler: Any, sigmas: torch.Tensor, clock: Clock) -> list[Evaluation]:
    """One evaluation a step, of a class that needs the network's own times and their alpha-bar."""
    name = type(scheduler).__name__.removesuffix("Scheduler")
    known = clock.times
    if known is None:
        raise HarnessError(
            f"{name} is for networks of whole timesteps, such as a Stable Diffusion's; on a flow "
            "take diffusers:FlowMatchLCM"
        )
    times = clock.time_of(sigmas[:-1])
    if float((times - times.round()).abs().max()) > 1e-3:
        raise HarnessError(
            f"{name} steps through whole timesteps, and this ladder does not: take spacing=lcm, "
            "trailing or linspace"
        )
    levels = clock.sigma_of(torch.arange(known[1]))
    scheduler.alphas_cumprod = 1 / (1 + levels**2)
    _put(scheduler, sigmas, times.round().long(), len(sigmas) - 1)
    return _each(scheduler.timesteps, sigmas)


def _pairs(sigmas: torch.Tensor) -> torch.Tensor:
    """[s0, s1, s1, s2, s2, ..., sN]."""
    return torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])


def slopes_at_both_ends(scheduler: Any, sigmas: torch.Tensor, clock: Clock) -> list[Evaluation]:
    """Heun's: a second evaluation where each step ends, but for the last."""
    levels = _pairs(sigmas)
    began = sigmas[:-1].repeat_interleave(2)[: len(levels) - 1]
    _put(scheduler, levels, _numbers(len(levels) - 1), len(sigmas) - 1)
    # Heun evaluates s0, s1 (the first step's end), s1, s2, ...
    return [
        Evaluation(t, s, b) for t, s, b in zip(scheduler.timesteps, levels, began, strict=False)
    ]


def flow_slopes_at_both_ends(
    scheduler: Any, sigmas: torch.Tensor, clock: Clock
) -> list[Evaluation]:
    """The same in the times of a flow."""
    found = slopes_at_both_ends(scheduler, sigmas, clock)
    scheduler.sigmas = scheduler.sigmas / (1 + scheduler.sigmas)
    scheduler.dt = scheduler.prev_derivative = scheduler.sample = None  # as its set_timesteps
    return found


def midpoints(scheduler: Any, sigmas: torch.Tensor, clock: Clock) -> list[Evaluation]:
    """DPM-Solver-2's: a second evaluation half way down in log sigma, but for a step to 0."""
    return _with_midpoints(scheduler, sigmas, sigmas[1:], ahead=1)


def ancestral_midpoints(scheduler: Any, sigmas: torch.Tensor, clock: Clock) -> list[Evaluation]:
    """The same with ancestral steps: half way to the level below which fresh noise leads up."""
    s, t = sigmas[:-1], sigmas[1:]
    up = (t**2 * (s**2 - t**2) / s**2).sqrt()
    down = (t**2 - up**2).sqrt()
    found = _with_midpoints(scheduler, sigmas, down, ahead=0)
    scheduler.sigmas_up, scheduler.sigmas_down = (_twice(part) for part in (up, down))
    return found


def _with_midpoints(
    scheduler: Any, sigmas: torch.Tensor, ends: torch.Tensor, ahead: int
) -> list[Evaluation]:
    """Steps by way of the middle between their start and `ends`; a class looks `ahead` places
    further for it."""
    middles = (sigmas[:-1] * ends).sqrt()
    levels = torch.stack([sigmas[:-1], middles], 1).flatten()
    began = sigmas[:-1].repeat_interleave(2)
    if ends[-1] == 0:  # the middle to 0 is 0, and so an Euler step ends there
        levels, began = levels[:-1], began[:-1]
    scheduler.sigmas_interpol = torch.cat([middles[:1].expand(ahead), _twice(middles)])
    places = torch.cat([sigmas[:1], sigmas[1:].repeat_interleave(2)])
    _put(scheduler, places, _numbers(len(levels)), len(sigmas) - 1)
    return [Evaluation(*one) for one in zip(scheduler.timesteps, levels, began, strict=True)]


def _twice(part: torch.Tensor) -> torch.Tensor:
    return part.repeat_interleave(2)


def given_estimates(place: Place) -> Place:
    """The same for a class that turns outputs into D by itself: it is given D."""

    def placed(scheduler: Any, sigmas: torch.Tensor, clock: Clock) -> Sequence[Evaluation]:
        scheduler.precondition_outputs = lambda sample, model_output, sigma: model_output
        return place(scheduler, sigmas, clock)

    return placed


def as_estimate(x: torch.Tensor, d: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """D itself."""
    return d


def as_velocity(x: torch.Tensor, d: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """n - x0, a flow's."""
    return epsilon(x, d, s) - d


def variance_preserving(s: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + s**2).sqrt()


def variance_exploding(s: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(s)


def rectified_flow(s: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + s)
