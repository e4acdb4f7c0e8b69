"""AsynDM: pixels of a prompt's objects are denoised later than their surroundings."""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch.nn import functional

from harness.core.errors import HarnessError
from harness.core.objects import ObjectRequest
from harness.samplers.base import Attention, Clock, Denoise, FindTargets, Noise, epsilon, sampler

Strength = Annotated[float, Field(ge=0, lt=1)]


def _check(params: dict[str, Any]) -> None:
    if params["spacing"] != "even":
        raise HarnessError(
            f"asyndm steps through times of its own, as spacing=even does: not "
            f"{params['spacing']!r}"
        )
    named = [name for name in ("objects", "object_tokens") if name in params]
    if len(named) == 2:
        raise HarnessError("asyndm: objects and object_tokens contradict each other: give one")
    if named and params["released_tokens"]:
        raise HarnessError(f"asyndm: released_tokens is about a prompt's notes, not {named[0]}")
    if params["guidance"] == 0 and params["mask"] != "everywhere":
        raise HarnessError(
            "asyndm looks for the objects in the conditional branch: guidance must not be 0"
        )


@sampler(
    "asyndm",
    title="AsynDM (on SD3: our own design)",
    paper="Hu et al. 2025, Asynchronous Denoising Diffusion Models, arXiv:2510.04504",
    ladder=("spacing",),
    check=_check,
    complete=lambda params: {"spacing": "even", **params},
    needs=("pixel levels", "attention", "clock", "targets"),
)
def asyndm(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    noise: Noise,
    *,
    attention: Attention,
    clock: Clock,
    targets: FindTargets,
    guidance: float = 5.0,
    eta: Annotated[float, Field(ge=0, le=1)] = 0.0,
    curve: Literal["bin", "lin", "exp"] = "bin",
    mask: Literal["dynamic", "static", "everywhere"] = "dynamic",
    threshold: Annotated[float, Field(ge=0)] = 1.0,
    strength: Strength | list[Strength] | None = None,
    objects: str | list[str] | None = None,
    object_tokens: list[Annotated[int, Field(ge=0)]] | None = None,
    released_tokens: bool = False,
) -> torch.Tensor:
    """Algorithm 1: DDIM whose timestep is a map s, concave in time where an object is, straight
    elsewhere.

    An object is where its token's attention reaches `threshold` times its mean: `dynamic` at the
    step before, `static` on average over a run of plain DDIM, which costs as many evaluations
    again. `everywhere` bends the whole picture's schedule: the paper's concave baseline.
    `strength` is kappa, one for all objects or one each. Objects and strengths are the prompt's own
    unless they are given (harness/core/objects.py); `object_tokens` count from the first word's, 0.

    Certified on U-Nets. On Stable Diffusion 3 no reference code exists, and the design is our own:
    token_time.py and joint_maps.py in models/pipelines/hooks, and `PixelTimes`, say what it is.
    """
    found = targets(ObjectRequest(objects, object_tokens, strength, released_tokens))
    tokens, kappa = found.tokens, found.strengths
    times = PixelTimes.of(clock, sigmas, curve)
    times.check(found.strongest)
    draws = [noise() if eta > 0 else None for _ in sigmas[1:]]
    if mask == "static":
        maps = _mean_maps(attention, x, sigmas[: times.steps], guidance, eta, draws)
        pull = pull_map(maps, tokens, kappa, threshold)
    else:
        whole = kappa.amax(1) if mask == "everywhere" else of_last_object(tokens, kappa)
        pull = whole.reshape(-1, 1, 1, 1)
    state, left = times.entry(pull)
    s = times.level(state, x.shape)
    x = x * ((1 + s**2) / (1 + sigmas[0] ** 2)).sqrt().to(x.dtype)  # the same noise, at level s
    for i, draw in enumerate(draws):
        state = times.move(state, left - i, pull)
        behind = len(draws) - 1 - i
        t = times.level(state, x.shape) if behind else sigmas[-1]
        if mask == "dynamic" and behind > 1:  # what this step sees acts on the next one's end
            denoised, maps = attention(x, s, guidance=guidance, step=sigmas[i])
            pull = pull_map(maps, tokens, kappa, threshold)
        else:
            denoised = denoise(x, s, guidance=guidance, step=sigmas[i])
        x, s = _ddim_step(x, denoised, s, t, eta, draw), t
    return x


def _mean_maps(
    attention: Attention,
    x: torch.Tensor,
    levels: torch.Tensor,
    guidance: float,
    eta: float,
    draws: list[torch.Tensor | None],
) -> torch.Tensor:
    """The mean attention over a run of plain DDIM from the same noise."""
    denoised, total = attention(x, levels[0], guidance=guidance)
    for s, t, draw in zip(levels, levels[1:], draws, strict=False):
        x = _ddim_step(x, denoised, s, t, eta, draw)
        denoised, maps = attention(x, t, guidance=guidance)
        total = total + maps
    return total / len(levels)


def pull_map(
    maps: torch.Tensor, tokens: torch.Tensor, kappa: torch.Tensor, threshold: float
) -> torch.Tensor:
    """The strongest kappa [B, 1, h, w] of the objects at each position, 0 where there is none.

    `maps` [B, tokens, h, w] is attention, `tokens` [B, objects, tokens] each object's mean over
    them, `kappa` [B, objects].
    """
    attention = torch.einsum("bot,bthw->bohw", tokens, maps.to(tokens))
    on = attention >= threshold * attention.mean((2, 3), keepdim=True)
    return (on * kappa[:, :, None, None]).amax(1, keepdim=True)


def of_last_object(tokens: torch.Tensor, kappa: torch.Tensor) -> torch.Tensor:
    """The kappa [B] of the object named last, which the first step applies to the whole picture."""
    places = torch.arange(1, tokens.shape[-1] + 1, device=tokens.device)
    last = ((tokens > 0) * places).amax(2).argmax(1)
    return kappa.gather(1, last[:, None])[:, 0]


def _ddim_step(
    x: torch.Tensor,
    denoised: torch.Tensor,
    s: torch.Tensor,
    t: torch.Tensor,
    eta: float,
    draw: torch.Tensor | None,
) -> torch.Tensor:
    """DDIM (Song et al. 2021, equation 12) from levels s to t, each a scalar or of every pixel."""
    up = eta * t * (1 - (t / s) ** 2).sqrt()
    x = x + ((t**2 - up**2).sqrt() - s).to(x.dtype) * epsilon(x, denoised, s.to(x.dtype))
    return x if draw is None else x + up.to(x.dtype) * draw


@dataclass(frozen=True)
class PixelTimes:
    """Times of a run of `steps`, from `first` + `last` down to `last` and then to 0.

    The three curves of section 3.3 for a pull kappa in [0, 1); 0 is the straight line. In float32,
    as the published code computes them, so that rounding falls the same way.

    For integer timesteps these are timesteps, as published. For continuous ones (a flow), time is
    the place on the model's own ladder: the steps left, `first` of them, down to 0. So the straight
    line is the ordinary run whatever the ladder, a flow's shift included; levels are linear in the
    model's time between two of the ladder's, `known` from the last one on.
    """

    curve: str
    steps: int
    first: int
    last: int
    clock: Clock | None = None
    known: torch.Tensor | None = None

    @classmethod
    def of(cls, clock: Clock, sigmas: torch.Tensor, curve: str) -> PixelTimes:
        """On a model's times. A ladder that ends at the last timestep leaves out a step that would
        not move."""
        steps = len(sigmas) - 1
        if clock.times is None:
            return cls(curve, steps, steps, 0, clock, clock.time_of(sigmas.flip(0)))
        last, first = clock.times
        stands = float(sigmas[-1]) == float(clock.sigma_of(torch.tensor(last)))
        return cls(curve, steps + int(stands), first, last, clock)

    def beginning(self, pull: torch.Tensor) -> torch.Tensor:
        """The state before the first move, of `pull`'s shape; above a network's timesteps."""
        return torch.full_like(pull, self.first + self.last)

    def entry(self, pull: torch.Tensor) -> tuple[torch.Tensor, int]:
        """The first state within the network's timesteps, and the steps left after the next one."""
        state, left = self.beginning(pull), self.steps
        if self.known is None:
            state, left = self.move(state, left, pull), left - 1
        return state, left

    def move(self, state: torch.Tensor, left: int, pull: torch.Tensor) -> torch.Tensor:
        """The next time of every pixel, with `left` steps to go after it: equations of 3.3."""
        if left == 0:
            return torch.zeros_like(state)
        straight = state - (state - self.last) / left
        pace = self.first / self.steps
        slow = (1 - pull) * pace
        if self.curve == "bin":
            curved = straight + pull * self.first * (left - 1) / self.steps**2
        elif self.curve == "lin":
            curved = torch.minimum(state - slow, self.last + (1 + pull) * (left - 1) * pace)
        else:
            bend = expm1(1 / self.steps) / expm1(left / self.steps)
            curved = state - slow - (state - self.last - slow * left) * bend
        return torch.where(pull > 0, curved, straight)

    def level(self, state: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """The level [B, 1, 1, 1] of a state, or [B, 1, H, W] of every pixel of x, of `shape`."""
        assert self.clock is not None
        if state.shape[-1] > 1:
            state = functional.interpolate(state, shape[-2:])
        if self.known is None:
            return self.clock.sigma_of(state.round())
        known = self.known.to(state.device, non_blocking=True)
        below = state.floor().clamp(0, len(known) - 2).long()
        place = state.double() - below
        return self.clock.sigma_of(torch.lerp(known[below], known[below + 1], place))

    def check(self, strength: float) -> None:
        """Raise HarnessError if so strong a pull begins above the last timestep of the network."""
        if self.known is not None:
            return
        tried = torch.cat([torch.arange(1000) / 1000, torch.tensor([strength])])
        begins = self.entry(tried)[0].round()
        allowed = tried[:-1][begins[:-1] < self.first]
        if begins[-1] < self.first:
            return
        if not len(allowed):
            raise HarnessError(f"asyndm: {self.steps} steps are too many for its timesteps")
        raise HarnessError(
            f"asyndm: strength {strength:g} with curve={self.curve} and steps={self.steps} begins "
            f"above the model's timesteps: at most {float(allowed.max()):.3f}, or fewer steps"
        )
