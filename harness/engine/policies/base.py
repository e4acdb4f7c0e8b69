"""What a guidance policy is, and how one is registered.

A policy changes how the conditional output c and the unconditional output u become one. It is a
class whose keyword parameters every sampler then has, as in `ddim(guidance_end=0)`:

    @policy("linear_decay", title="Linear decay", paper="-")
    class LinearDecay(GuidancePolicy):
        def __init__(
            self,
            at: PolicyContext,
            *,
            guidance_end: Annotated[float, Field(ge=0)] | None = None,
        ) -> None:
            assert guidance_end is not None  # its only parameter
            starts = at.sigmas[:-1]
            self.starts, self.factors = starts, torch.linspace(1, guidance_end, len(starts))

        def scale(self, scale: torch.Tensor, step: float) -> torch.Tensor:
            return scale * self.factors[(self.starts - step).abs().argmin()]

It is made anew for every batch if one of its parameters is given (the others are None), and so may
keep earlier steps. Annotations are checked, defaults are None. What a policy does not define stays
as it is in plain guidance, u + w (c - u): see classifier_free.py, which puts all of them together.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

import torch

from harness.core.registry import Registry
from harness.models.base import Network


@dataclass(frozen=True)
class PolicyContext:
    """The run that a policy is made for.

    `sigmas` [N+1] is the ladder, `guidance` the sampler's own scale where it has one, `scales` [B]
    each image's scale in another run where the sampler is to take that (see like.py).
    """

    sigmas: torch.Tensor
    guidance: float | None = None
    scales: torch.Tensor | None = None


class GuidancePolicy:
    """A change to classifier-free guidance; by itself, none.

    A step's policy depends on the level `step` at which it began, a number; scales are float64 on
    the CPU, so that what is evaluated is decided without a look at the state's device.
    """

    linear = True
    """Whether the output stays u + w (c - u), with w of `scale`."""
    estimates = False
    """Whether it combines estimates of x0 rather than the network's outputs."""
    outputs = False
    """Whether it must combine the network's own outputs, noise or velocity."""
    conditional = False
    """Whether it needs the conditional output where w = 0, too."""
    branch: str | None = None
    """The name under which evaluations of p, the c of the `altered` network, are counted."""
    strength = 0.0
    """The weight of (c - p), which is added to the guided output."""

    def __init__(self, at: PolicyContext, **parameters: Any) -> None: ...

    def acts(self, step: float) -> bool:
        """Whether guidance acts at a step; where not, the output is the conditional one alone."""
        return True

    def pushes(self, step: float) -> bool:
        """Whether its further branch is evaluated at a step at which guidance acts."""
        return True

    def scale(self, scale: torch.Tensor, step: float) -> torch.Tensor:
        """The scale w [B] in place of the sampler's own."""
        return scale

    def altered(self, network: Network) -> Network:
        """The network whose conditional output is p; HarnessError if it cannot be altered so."""
        raise NotImplementedError

    def combined(
        self,
        guided: torch.Tensor,
        branches: tuple[torch.Tensor, torch.Tensor],
        scale: torch.Tensor,
        step: float,
    ) -> torch.Tensor:
        """The guided output [B, ...], before (c - p) is added; `branches` are u and c.

        The result is not used for samples that need one branch only.
        """
        return guided

    def adjusted(self, guided: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """The output [B, ...] in place of the guided one with all that is added."""
        return guided


P = TypeVar("P", bound=type[GuidancePolicy])


@dataclass(frozen=True)
class PolicyEntry:
    """A registered policy.

    `parameters` are their annotations by name, `place` orders them in a sampler's text, and `check`
    sees all parameters of a sampler and raises HarnessError for those that contradict each other.
    """

    name: str
    title: str
    paper: str
    make: type[GuidancePolicy]
    parameters: dict[str, Any]
    check: Callable[[dict[str, Any]], None]
    place: int


POLICIES: Registry[PolicyEntry] = Registry(
    "policy", "harness.engine.policies", group="harness.policies"
)


def policies() -> list[PolicyEntry]:
    """Every policy, in the order of their parameters."""
    return sorted((entry for _, entry in POLICIES), key=lambda entry: entry.place)


def policy(
    name: str,
    *,
    title: str,
    paper: str,
    check: Callable[[dict[str, Any]], None] = lambda params: None,
    place: int = 100,
) -> Callable[[P], P]:
    """Register a class as the policy `name`; see the module's docstring."""

    def register(made: P) -> P:
        hints = get_type_hints(made.__init__, include_extras=True)
        own = [
            parameter.name
            for parameter in inspect.signature(made.__init__).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        ]
        parameters = {key: hints.get(key, Any) for key in own}
        entry = PolicyEntry(name, title, paper, made, parameters, check, place)
        POLICIES.add(name, entry, made)
        return made

    return register
