"""The one place around the network: counts evaluations, skips useless ones, batches the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, Protocol

import torch

from harness.core.errors import HarnessError
from harness.core.objects import ObjectRequest
from harness.engine.applied import Applied
from harness.engine.branches import Conditioned, both, denoised, estimate, perturbed, spread
from harness.models.base import Condition, Network


class Policy(Protocol):
    """How branches become one output; see engine/policies.py."""

    linear: bool
    estimates: bool
    pag_scale: float
    pag_layers: tuple[str, ...]

    def push(self, guidance: torch.Tensor, step: torch.Tensor) -> torch.Tensor: ...

    def scale(self, guidance: torch.Tensor, step: torch.Tensor) -> torch.Tensor: ...

    def branches(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...

    def combine(
        self,
        u: torch.Tensor,
        c: torch.Tensor,
        weight: torch.Tensor,
        step: torch.Tensor,
        pushed: torch.Tensor | float = 0.0,
    ) -> torch.Tensor: ...


Objects = Callable[[ObjectRequest], tuple[torch.Tensor, torch.Tensor]]
"""The objects of a batch of prompts, as targets.py finds them."""


class Denoiser:
    """`D = denoise(x, sigma, guidance=w)` for one batch; what samplers see of a model.

    Guidance leads away from the unconditional branch, or from a second network, the `guide`, with
    its own condition (autoguidance, Karras et al. 2024, arXiv:2406.02507; or a separate
    unconditional net). `variants` are what a sampler may ask for by name. `clock` knows the
    model's own levels and times: the model itself where it is not given. `objects` are the
    prompts' objects, for samplers that ask for them: see targets.py.

    `evaluations` counts, for each (network, branch), how often each sample [B] was evaluated;
    `applied` is what guidance did each time.
    """

    def __init__(
        self,
        model: Network,
        condition: Condition,
        negative: Condition | None,
        policy: Policy,
        variants: Mapping[str, Conditioned] | None = None,
        guide: Conditioned | None = None,
        clock: Any = None,
        objects: Objects | None = None,
        applied: Applied | None = None,
    ) -> None:
        self._networks = {"main": Conditioned(model, condition, negative), **(variants or {})}
        self._name, self._guide = "main", guide
        self._clock = model if clock is None else clock
        self.policy, self._objects = policy, objects
        size = len(next(iter(condition.values())))
        keys = [(name, branch) for name in self._networks for branch in ("cond", "uncond")]
        keys += [(name, "perturbed") for name in self._networks if policy.pag_scale]
        keys += [] if guide is None else [("guide", "cond")]
        self.evaluations = {key: torch.zeros(size, dtype=torch.int32) for key in keys}
        self.applied = Applied() if applied is None else applied

    def variant(self, name: str) -> Denoiser:
        """The same with another network; the model's own where there is none of this name."""
        other = copy(self)
        other._name = name if name in self._networks else "main"
        return other

    @property
    def model(self) -> Network:
        return self._networks[self._name].network

    def time_of(self, sigma: torch.Tensor) -> torch.Tensor:
        """The model's own (fractional) time of levels sigma; HarnessError if it has none."""
        return self._timed().time_of(sigma)

    def sigma_of(self, time: torch.Tensor) -> torch.Tensor:
        """The level of the model's own (fractional) times; HarnessError if it has none."""
        return self._timed().sigma_of(time)

    def round(self, sigma: torch.Tensor) -> torch.Tensor:
        """The levels nearest to sigma that the model knows; sigma where it knows all."""
        return self._clock.round(sigma) if hasattr(self._clock, "round") else sigma

    def renoise(
        self,
        x: torch.Tensor,
        low: torch.Tensor,
        high: torch.Tensor,
        noise: Callable[..., torch.Tensor],
        scale: float = 1.0,
    ) -> torch.Tensor:
        """A state of level `high` from one of `low` by fresh noise, `scale` times as strong.

        Gaussian, unless the model has a law of its own.
        """
        if hasattr(self._clock, "renoise"):
            return self._clock.renoise(x, low, high, noise, scale)
        return x + (high**2 - low**2).sqrt() * scale * noise()

    @property
    def times(self) -> tuple[int, int] | None:
        """Of a model that knows whole times only: at which a run ends and above which it begins."""
        return getattr(self._timed(), "times", None)

    def begin(self, x: torch.Tensor, sigma: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The first state `x` of level sigma as one of another level, which may be a map."""
        model: Any = self.model
        one = torch.ones_like(x[:1])
        return x * (model.start(one, other) / model.start(one, sigma)).to(x)

    def maps(
        self,
        x: torch.Tensor,
        sigma: torch.Tensor | float,
        guidance: torch.Tensor | float = 1.0,
        step: torch.Tensor | float | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The estimate, and the conditional branch's cross-attention [B, tokens, h, w].

        Raises HarnessError where guidance leaves that branch out.
        """
        model: Any = self.model
        before = self.evaluations[self._name, "cond"].clone()
        # Conditional rows are the last ones of a call.
        with model.attention_maps(tuple(x.shape[-2:]), slice(-len(x), None)) as maps:
            denoised = self(x, sigma, guidance=guidance, step=step)
        if bool((self.evaluations[self._name, "cond"] == before).any()):
            raise HarnessError("attention maps are the conditional branch's: guidance 0 has none")
        return denoised, maps.mean

    def objects(self, request: ObjectRequest) -> tuple[torch.Tensor, torch.Tensor]:
        """The prompts' objects: weights [B, objects, tokens] and strengths [B, objects]."""
        if self._objects is None:
            raise HarnessError(f"{self.model.name} takes no text, so there are no objects in it")
        return self._objects(request)

    def _timed(self) -> Any:
        if not hasattr(self._clock, "sigma_of"):
            raise HarnessError(
                f"{self.model.name} knows levels of noise only: this sampler, or this setting of "
                "it, needs a model with discrete times, such as a Stable Diffusion"
            )
        return self._clock

    def __call__(
        self,
        x: torch.Tensor,
        sigma: torch.Tensor | float,
        guidance: torch.Tensor | float = 1.0,
        time: torch.Tensor | float | None = None,
        step: torch.Tensor | float | None = None,
    ) -> torch.Tensor:
        """The guided estimate of x0 [B, ...] at state `x` of level `sigma`.

        `sigma` broadcasts to x; `guidance` is a scalar or [B]; `time` is the level that the network
        is told, where it differs from sigma; `step` the level at which the current step began,
        which guidance policies look at (sigma where it is not given).
        """
        sigma = torch.as_tensor(sigma, dtype=torch.float64)
        time = sigma if time is None else torch.as_tensor(time, dtype=torch.float64)
        step = sigma if step is None else torch.as_tensor(step, dtype=torch.float64)
        asked = torch.as_tensor(guidance, dtype=torch.float64).expand(len(x))
        weight = self.policy.scale(asked, step)
        push = self.policy.push(asked, step)
        need_u, need_c = (need.cpu() for need in self.policy.branches(weight))
        need_p = (push != 0).cpu()
        need_c = need_c | need_p
        own = self._networks[self._name]
        if own.negative is None and self._guide is None and bool(need_u.any()):
            raise HarnessError(
                f"{self.model.name} has no unconditional branch: guidance must be 1, not "
                f"{float(asked[need_u.nonzero()[0, 0]]):g}, or give a second network (--guide)"
            )
        self.evaluations[self._name, "cond"] += need_c
        levels, as_estimates = (sigma, time), self.policy.estimates or self._guide is not None
        if self._guide is not None:
            self.evaluations["guide", "cond"] += need_u
            away = estimate(self._guide, x, levels, need_u)
            toward = estimate(own, x, levels, need_c)
        else:
            self.evaluations[self._name, "uncond"] += need_u
            away, toward = both(own, x, levels, need_u, need_c)
            if as_estimates:
                away = denoised(own.network, x, sigma, need_u, away)
                toward = denoised(own.network, x, sigma, need_c, toward)
        u, c = spread(away, need_u, toward, need_c), spread(toward, need_c, away, need_u)
        pushed: torch.Tensor | float = 0.0
        if bool(need_p.any()):
            self.evaluations[self._name, "perturbed"] += need_p
            p = perturbed(own, x, levels, need_p, self.policy.pag_layers)
            p = denoised(own.network, x, sigma, need_p, p) if as_estimates else p
            p = spread(p, need_p, c, torch.ones_like(need_p))
            pushed = torch.einsum("b,b...->b...", push.to(c), c - p)
        output = self._combined(u, c, (need_u & need_c) | need_p, (weight, step), pushed)
        known = need_u & need_c
        if not as_estimates:
            output = self.model.denoised(x, sigma, output)
            one = not bool(known.any())  # then nothing is told of them
            u, c = (output if one else self.model.denoised(x, sigma, raw) for raw in (u, c))
        plain = self.policy.linear and not bool(need_p.any())
        self.applied.see(weight, (u, c, output), (x, sigma), known, plain=plain)
        return output

    def _combined(
        self,
        u: torch.Tensor,
        c: torch.Tensor,
        mixed: torch.Tensor,
        how: tuple[torch.Tensor, torch.Tensor],
        pushed: torch.Tensor | float,
    ) -> torch.Tensor:
        """One output [B, ...]: the policy's for the samples that are mixed, or the only branch's.

        `how` is the weight, and the level at which the step began.
        """
        if not bool(mixed.any()):
            return c
        out = self.policy.combine(u, c, *how, pushed)
        if not bool(mixed.all()):
            alone = (~mixed).to(out.device)
            out[alone] = c[alone]
        return out
