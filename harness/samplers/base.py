"""What a sampler is, how one is registered, and how its parameters are read and checked.

A sampler is a plain function over sigma, registered by a decorator:

    @sampler("ddim", title="DDIM", paper="Song et al. 2021, arXiv:2010.02502")
    def ddim(denoise, x, sigmas, noise, *, guidance: float = 5.0, eta: float = 0.0):
        ...
        return x

It sees `denoise(x, sigma, guidance=w, time=None, step=None)`, the first state `x` [B, ...], the
ladder `sigmas` [N+1] (float64, decreasing) and `noise()`, each sample's next unit normals. It knows
of no device, file, progress bar or random generator. Its keyword parameters, with the paper's
defaults, are the parameters that users may set; annotations are checked.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, get_args, get_type_hints

import torch
from pydantic import Field, TypeAdapter, ValidationError

from harness.core.call import Call
from harness.core.errors import HarnessError, unknown
from harness.core.objects import ObjectRequest
from harness.core.registry import Registry


class Mistyped(HarnessError):
    """A parameter's value is of another kind than the parameter: a slip of the hand."""


class Denoise(Protocol):
    """The model as a sampler sees it: the guided estimate of x0 at a state of level sigma."""

    def __call__(
        self,
        x: torch.Tensor,
        sigma: torch.Tensor | float,
        guidance: torch.Tensor | float = 1.0,
        time: torch.Tensor | float | None = None,
        step: torch.Tensor | float | None = None,
    ) -> torch.Tensor: ...

    def variant(self, name: str) -> Denoise:
        """The same with another network, as the sampler's `variants` declares it."""

    def time_of(self, sigma: torch.Tensor) -> torch.Tensor:
        """The (fractional) timestep of sigma, where the model has discrete ones."""

    def sigma_of(self, time: torch.Tensor) -> torch.Tensor:
        """Sigma of a (fractional) timestep, where the model has discrete ones."""

    def round(self, sigma: torch.Tensor) -> torch.Tensor:
        """The nearest levels that the model knows."""

    def renoise(
        self, x: torch.Tensor, low: torch.Tensor, high: torch.Tensor, noise: Noise, scale: float
    ) -> torch.Tensor:
        """The state x of level `low` raised to `high` by fresh noise, `scale` times as strong."""

    @property
    def times(self) -> tuple[int, int] | None:
        """Of a model that knows whole times only: at which a run ends and above which it begins."""

    def begin(self, x: torch.Tensor, sigma: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The first state `x` of level sigma as one of another level, which may be a map."""

    def maps(
        self,
        x: torch.Tensor,
        sigma: torch.Tensor | float,
        guidance: torch.Tensor | float = 1.0,
        step: torch.Tensor | float | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The estimate, and the conditional branch's cross-attention [B, tokens, h, w].

        For samplers that need "attention maps", as `objects` is.
        """

    def objects(self, request: ObjectRequest) -> tuple[torch.Tensor, torch.Tensor]:
        """The prompts' objects: weights [B, objects, tokens] and strengths [B, objects]; see
        harness/engine/targets.py."""


class Noise(Protocol):
    """Each sample's next unit normals [B, ...]."""

    def __call__(self, shape: Sequence[int] | None = None) -> torch.Tensor: ...

    def skip(self) -> None:
        """Let a draw of the sample's own shape go by."""


Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Level = Annotated[list[float], Field(min_length=2, max_length=2)]

LADDER: dict[str, Any] = {
    "spacing": str | None,
    "sigma_min": Positive | None,
    "sigma_max": Positive | None,
    "rho": Positive | None,
}
"""Parameters of the model's ladder, beside `steps`; a sampler declares which it exposes."""

POLICY: dict[str, Any] = {
    "guidance_rescale": Annotated[float, Field(ge=0, le=1)] | None,
    "interval": Annotated[list[float], Field(min_length=2, max_length=2)] | None,
    "interval_steps": Annotated[list[int], Field(min_length=2, max_length=2)] | None,
    "guidance_schedule": Annotated[list[Level], Field(min_length=1)] | None,
    "guidance_like": Annotated[str, Field(pattern=r"^[^/\\]+$")] | None,
    "guidance_estimate": Literal["nominal", "ga_eval"] | None,
    "apg_eta": Annotated[float, Field(ge=0, le=1)] | None,
    "apg_threshold": Positive | None,
    "apg_momentum": Annotated[float, Field(gt=-1, lt=1)] | None,
    "pag_scale": Annotated[float, Field(ge=0)] | None,
    "pag_layers": Annotated[list[str], Field(min_length=1)] | None,
}
"""Parameters that every sampler has: guidance policies, see guidance.py."""


@dataclass(frozen=True)
class Source:
    """The user's file that a sampler is a function of. `path` is absolute, `digest` its text's."""

    path: str
    text: str
    digest: str
    function: str

    @property
    def name(self) -> str:
        """What the sampler is called in a run: wherever the file lies, its text is the same."""
        return f"{Path(self.path).name}:{self.function}@{self.digest}"

    @property
    def location(self) -> str:
        """Where another process finds the same text."""
        return f"{self.path}:{self.function}@{self.digest}"


@dataclass(frozen=True)
class Sampler:
    """A registered sampler. `check` sees all parameters and raises HarnessError for bad ones.

    `complete` gives, from the parameters that are set, all of them with what follows from others.

    `variants` tells from the parameters which networks `denoise.variant(name)` must give, each with
    its settings (`lora`, `scale`); "main" replaces the model's own. `needs` are abilities of a
    model (models/base.py).
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

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter that may be set, with its default (None: the model's or the ladder's)."""
        common = dict.fromkeys(["steps", *self.ladder, *POLICY])
        return {**common, **{name: default for name, (_, default) in self.own.items()}}

    def resolve(self, params: dict[str, Any], defaults: dict[str, Any]) -> Call:
        """All parameters with their values, checked; those that are None are left out.

        `defaults` (of the model or the benchmark) fill in for `steps` and `guidance` where `params`
        does not give them. Raises HarnessError for unknown names and values of a wrong kind.
        """
        kinds = {"steps": Count, **{name: LADDER[name] for name in self.ladder}, **POLICY}
        kinds |= {name: kind for name, (kind, _) in self.own.items()}
        for name in params:
            if name not in kinds:
                raise unknown("parameter", name, kinds, where=f"sampler {self.name}")
        values = {name: default for name, (_, default) in self.own.items()}
        values |= {name: value for name, value in defaults.items() if name in kinds} | params
        if values.get("steps") is None:
            raise HarnessError(f"sampler {self.name} needs steps: write {self.name}(steps=20)")
        checked = {name: self._checked(name, kinds[name], values[name]) for name in values}
        checked = self.complete({k: value for k, value in checked.items() if value is not None})
        checked = {n: self._checked(n, kinds[n], checked[n]) for n in kinds if n in checked}
        _check_policies(checked)
        if self.check:
            self.check(checked)
        return Call(self.name, checked)

    def _checked(self, name: str, kind: Any, value: Any) -> Any:
        if value is None and "none" in get_args(kind):
            value = "none"  # the word, where it is one of the choices
        try:
            return TypeAdapter(kind).validate_python(value, strict=True)
        except ValidationError as error:
            found = error.errors()[0]
            problem = found["msg"].removeprefix("Input ")
            mistyped = found["type"].endswith("_type") or found["type"] == "literal_error"
            raise (Mistyped if mistyped else HarnessError)(
                f"sampler {self.name}: parameter {name}={value!r} {problem}"
            ) from None


def _check_policies(params: dict[str, Any]) -> None:
    if params.get("interval") and params.get("interval_steps"):
        raise HarnessError("interval and interval_steps contradict each other: give one")
    if like := params.get("guidance_like"):
        if not params.get("guidance"):
            raise HarnessError(
                f"guidance_like={like} gives each image a guidance of its own in place of the "
                "sampler's, so that needs a parameter guidance that is not 0"
            )
        if params.get("guidance_schedule"):
            raise HarnessError("guidance_like and guidance_schedule contradict each other")
    elif params.get("guidance_estimate"):
        raise HarnessError("guidance_estimate has no effect without guidance_like: give both")
    apg = [name for name in params if name.startswith("apg_")]
    if apg and params.get("guidance_rescale"):
        raise HarnessError(
            f"guidance_rescale and {apg[0]} contradict each other: both bound what guidance adds, "
            "give one"
        )
    if params.get("pag_layers") and not params.get("pag_scale"):
        raise HarnessError("pag_layers has no effect without pag_scale: give both, or neither")


SAMPLERS: Registry[Sampler] = Registry("sampler", "harness.samplers")


def sampler(
    name: str,
    *,
    title: str,
    paper: str,
    ladder: tuple[str, ...] = ("spacing", "sigma_min", "sigma_max", "rho"),
    check: Callable[[dict[str, Any]], None] | None = None,
    complete: Callable[[dict[str, Any]], dict[str, Any]] = lambda params: params,
    variants: Callable[[dict[str, Any]], dict[str, dict[str, Any]]] = lambda params: {},
    needs: tuple[str, ...] = (),
) -> Callable[[Callable[..., torch.Tensor]], Callable[..., torch.Tensor]]:
    """Register a function as the sampler `name`; the module's text says what it must look like."""

    def register(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        hints = get_type_hints(function, include_extras=True)
        own = {
            key: (hints.get(key, Any), parameter.default)
            for key, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        if missing := [key for key in own if own[key][1] is inspect.Parameter.empty]:
            raise TypeError(f"sampler {name}: parameter {missing[0]} needs a default")
        entry = Sampler(name, title, paper, function, ladder, check, complete, variants, own, needs)
        SAMPLERS.add(name, entry)
        return function

    return register


def resolve(call: Call, defaults: dict[str, Any]) -> Call:
    """The call of a sampler with every parameter filled in and checked.

    The sampler is a registered one, or a function of a file, `PATH.py:FUNCTION`: see file.py.
    """
    from harness.samplers.file import is_file_sampler, load_sampler

    if call.name not in SAMPLERS and is_file_sampler(call.name):
        return load_sampler(call.name).resolve(call.params, defaults)
    return SAMPLERS.get(call.name).resolve(call.params, defaults)


def source_of(call: Call) -> Source | None:
    """The file that a resolved call's sampler comes from; None for those of packages."""
    return SAMPLERS.get(call.name).source


def portable(call: Call) -> Call:
    """A resolved call that means the same in another process on this machine."""
    source = source_of(call)
    return Call(source.location, call.params) if source else call


def split_parameters(call: Call) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A resolved call's parameters for the ladder, the guidance policy and the function itself."""
    ladder = {k: v for k, v in call.params.items() if k == "steps" or k in LADDER}
    policy = {k: v for k, v in call.params.items() if k in POLICY}
    own = {k: v for k, v in call.params.items() if k not in ladder and k not in policy}
    return ladder, policy, own


def epsilon(x: torch.Tensor, denoised: torch.Tensor, sigma: torch.Tensor | float) -> torch.Tensor:
    """The noise direction dx/dsigma = (x - D) / sigma."""
    return (x - denoised) / sigma
