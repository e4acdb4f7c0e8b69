"""What a sampler is, and how one is registered.

A sampler is a plain function over sigma, registered by a decorator:

    @sampler("ddim", title="DDIM", paper="Song et al. 2021, arXiv:2010.02502")
    def ddim(denoise, x, sigmas, noise, *, guidance: float = 5.0, eta: float = 0.0):
        ...
        return x

It sees `denoise(x, sigma, guidance=w, time=None, step=None)`, the first state `x` [B, ...], the
ladder `sigmas` [N+1] (float64, decreasing, on the CPU) and `noise()`, each sample's next unit
normals. It knows of no device, file, progress bar or random generator. Its keyword parameters, with
the paper's defaults, are the parameters that users may set; annotations are checked.

What only some samplers need is declared, and comes as keyword arguments of the same names:

    @sampler("restart", ..., needs=("clock", "renoise"))
    def restart(denoise, x, sigmas, noise, *, clock, renoise, guidance: float = 1.0, ...):

`clock` is a Clock, `variant` a Variant, `unadjusted` an Unadjusted, `renoise` a Renoise,
`attention` an Attention and `targets` a FindTargets, see below; "pixel levels" declares that
`denoise` is called with a map of levels.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol, get_type_hints

import torch
from pydantic import Field

from harness.core.errors import unknown
from harness.core.objects import ObjectRequest
from harness.core.registry import Registry


class Denoise(Protocol):
    """The model as a sampler sees it: the guided estimate of x0 at a state of level sigma."""

    def __call__(
        self,
        x: torch.Tensor,
        sigma: torch.Tensor | float,
        guidance: torch.Tensor | float = 1.0,
        time: torch.Tensor | float | None = None,
        step: torch.Tensor | float | None = None,
    ) -> torch.Tensor:
        """D [B, ...] at state `x` of level `sigma`.

        `guidance` is a scale, or one a sample [B]; `time` the level that the network is conditioned
        on, where that is not sigma; `step` the level at which the current step began, which decides
        for guidance policies (by default sigma).
        """


class Noise(Protocol):
    """Each sample's next unit normals [B, ...]."""

    def __call__(self, shape: Sequence[int] | None = None) -> torch.Tensor: ...

    def skip(self) -> None:
        """Skip a draw of the sample's own shape."""


class Clock(Protocol):
    """Conversion of timesteps and levels; HarnessError from the first three if there are none."""

    def time_of(self, sigma: torch.Tensor) -> torch.Tensor:
        """The (fractional) timesteps of levels sigma, float64."""

    def sigma_of(self, time: torch.Tensor) -> torch.Tensor:
        """The levels of (fractional) timesteps, float64."""

    @property
    def times(self) -> tuple[int, int] | None:
        """Of a model that knows whole times only: at which a run ends and above which it begins."""

    def round(self, sigma: torch.Tensor) -> torch.Tensor:
        """The model's levels nearest to sigma; sigma itself where levels are continuous."""


Variant = Callable[[str], Denoise]
"""`denoise` with the network that the sampler's `variants` declares by this name, or with the
model's own where it declares none."""

Unadjusted = Callable[[Denoise], Denoise]
"""A `denoise`, or a variant's, without what rescales the guided output: guidance_rescale, norm."""


class Renoise(Protocol):
    """The state x of level `low` raised to `high` by fresh noise, `scale` times as strong."""

    def __call__(
        self,
        x: torch.Tensor,
        low: torch.Tensor,
        high: torch.Tensor,
        noise: Noise,
        scale: float = 1.0,
    ) -> torch.Tensor: ...


class Attention(Protocol):
    """`denoise` that also returns the conditional branch's cross-attention [B, tokens, h, w].

    HarnessError where guidance leaves that branch out.
    """

    def __call__(
        self,
        x: torch.Tensor,
        sigma: torch.Tensor | float,
        guidance: torch.Tensor | float = 1.0,
        step: torch.Tensor | float | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]: ...


class Targets(NamedTuple):
    """The prompts' target objects, on the state's device.

    `tokens` [B, objects, tokens] weigh the tokens of attention maps, `strengths` [B, objects] are
    zero where a prompt has fewer objects than others; `strongest` is the largest of them.
    """

    tokens: torch.Tensor
    strengths: torch.Tensor
    strongest: float


FindTargets = Callable[[ObjectRequest], Targets]
"""The target objects of the batch's prompts: see engine/targets.py."""

HANDED = ("clock", "variant", "unadjusted", "renoise", "attention", "targets")
"""Needs that come as keyword arguments."""

PIPELINE = "pipeline"
"""The need of a sampler that is a function of a diffusers pipeline, see pipeline_function.py."""

_ABILITIES = {"pixel levels": "pixel levels", "attention": "attention maps"}
"""The ability of a model (models/base.py) that a need requires."""

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]

LADDER: dict[str, Any] = {
    "spacing": str | None,
    "sigma_min": Positive | None,
    "sigma_max": Positive | None,
    "rho": Positive | None,
    "shift": Positive | None,
    "sigmas": list[Annotated[float, Field(ge=0)]] | str | None,
}
"""Parameters of the model's ladder, beside `steps`; a sampler declares which it exposes."""

LADDER_NAMES = ("spacing", "sigma_min", "sigma_max", "rho", "shift", "sigmas")
"""Those that most samplers expose."""


@dataclass(frozen=True)
class Source:
    """The user's file with a sampler's function; `path` is absolute, `digest` that of the text.

    `prefix` stands before the path in what the user types.
    """

    path: str
    text: str
    digest: str
    function: str
    prefix: str = ""

    @property
    def name(self) -> str:
        """The sampler's name in a run, which does not depend on the file's folder."""
        return self._text(Path(self.path).name)

    @property
    def location(self) -> str:
        """The sampler's text for another process on this machine."""
        return self._text(self.path)

    def _text(self, path: str) -> str:
        return f"{self.prefix}{path}:{self.function}@{self.digest}"


@dataclass(frozen=True)
class Sampler:
    """A registered sampler.

    `check` raises HarnessError for parameters that contradict each other. `complete` adds to the
    parameters that are set those that follow from them. `variants` maps parameters to the networks
    that `variant(name)` must give, each with its settings (`lora`, `scale`, or
    `model`); "main" replaces the model's own. `own` are the function's parameters. `remark` says
    what becomes of parameters on a ladder [N+1], where that is not what was asked for.
    """

    name: str
    title: str
    paper: str
    run: Callable[..., torch.Tensor]
    ladder: tuple[str, ...]
    check: Callable[[dict[str, Any]], None] | None
    complete: Callable[[dict[str, Any]], dict[str, Any]]
    variants: Callable[[dict[str, Any]], dict[str, dict[str, Any]]]
    own: dict[str, tuple[Any, Any]]  # parameter: (annotation, default)
    needs: tuple[str, ...] = ()
    source: Source | None = None  # of one that comes from a user's file
    remark: Callable[[dict[str, Any], torch.Tensor, Clock], str | None] = lambda *at: None

    @property
    def whole(self) -> bool:
        """Whether it runs a pipeline by itself, without a ladder or a denoiser of ours."""
        return PIPELINE in self.needs

    @property
    def abilities(self) -> list[str]:
        """The abilities that a model must have, see ModelEntry."""
        return [_ABILITIES[need] for need in self.needs if need in _ABILITIES]


SAMPLERS: Registry[Sampler] = Registry("sampler", "harness.samplers")


def sampler(
    name: str,
    *,
    title: str,
    paper: str,
    ladder: tuple[str, ...] = LADDER_NAMES,
    check: Callable[[dict[str, Any]], None] | None = None,
    complete: Callable[[dict[str, Any]], dict[str, Any]] = lambda params: params,
    variants: Callable[[dict[str, Any]], dict[str, dict[str, Any]]] = lambda params: {},
    needs: tuple[str, ...] = (),
    remark: Callable[[dict[str, Any], torch.Tensor, Clock], str | None] = lambda *at: None,
) -> Callable[[Callable[..., torch.Tensor]], Callable[..., torch.Tensor]]:
    """Register a function as the sampler `name`; see the module's docstring."""

    def register(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        hints = get_type_hints(function, include_extras=True)
        named = {
            key: (hints.get(key, Any), parameter.default)
            for key, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        for need in needs:
            if need not in (known := {*HANDED, *_ABILITIES}):
                raise unknown("need", need, known, where=f"sampler {name}")
            if need in HANDED and need not in named:
                raise TypeError(f"sampler {name} needs {need}: it must take a parameter {need}")
        own = {key: about for key, about in named.items() if key not in needs}
        if missing := [key for key in own if own[key][1] is inspect.Parameter.empty]:
            hint = f", or needs=('{missing[0]}',)" if missing[0] in HANDED else ""
            raise TypeError(f"sampler {name}: parameter {missing[0]} needs a default{hint}")
        checked = (ladder, check, complete, variants, own, needs)
        entry = Sampler(name, title, paper, function, *checked, remark=remark)
        SAMPLERS.add(name, entry, function)
        return function

    return register


def epsilon(x: torch.Tensor, denoised: torch.Tensor, sigma: torch.Tensor | float) -> torch.Tensor:
    """The noise direction dx/dsigma = (x - D) / sigma."""
    return (x - denoised) / sigma
