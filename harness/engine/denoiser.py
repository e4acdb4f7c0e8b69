"""Guided denoising: evaluations of the network are counted, batched, and skipped where unused."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

import torch

from harness.core.errors import HarnessError
from harness.engine.applied import Applied
from harness.engine.branches import Conditioned, Levels, Rows, alone, both, denoised, spread
from harness.engine.policies.base import GuidancePolicy
from harness.engine.policies.classifier_free import ClassifierFree, chosen
from harness.models.base import Condition, Network, SigmaSpaceModel

_GONE = {
    "time_of": "clock",
    "sigma_of": "clock",
    "round": "clock",
    "times": "clock",
    "variant": "variant",
    "renoise": "renoise",
    "maps": "attention",
    "objects": "targets",
}


class Denoiser:
    """The guided estimate of x0, `D = denoise(x, sigma, guidance=w)`, of one batch.

    Guidance leads away from the unconditional branch, or from a second network, the `guide`, with
    its own condition (autoguidance, Karras et al. 2024, arXiv:2406.02507; or a separate
    unconditional net). `variants` are the networks of `with_network`, by name.

    `evaluations` counts, for each (network, branch), how often each sample [B] was evaluated;
    `applied` records guidance. Everything that decides what is evaluated lies on the CPU: the
    state's device is never waited for.
    """

    def __init__(
        self,
        model: Network,
        condition: Condition,
        negative: Condition | None,
        policy: ClassifierFree,
        variants: Mapping[str, Conditioned] | None = None,
        guide: Conditioned | None = None,
        applied: Applied | None = None,
    ) -> None:
        _check_outputs(policy, model, guide)
        self._networks = {"main": Conditioned(model, condition, negative), **(variants or {})}
        self._name, self._guide, self.policy = "main", guide, policy
        size = len(next(iter(condition.values())))
        branches = ("cond", "uncond")
        keys = [(name, branch) for name in self._networks for branch in branches]
        keys += [(name, branch) for name in self._networks for branch in policy.branches]
        keys += [] if guide is None else [("guide", "cond")]
        self.evaluations = {key: torch.zeros(size, dtype=torch.int32) for key in keys}
        self.applied = Applied() if applied is None else applied

    def __getattr__(self, name: str) -> Any:
        if name == "begin":
            raise HarnessError(
                "denoise.begin is gone: a state of level s is one of level t times "
                "sqrt((1 + t**2) / (1 + s**2))"
            )
        if name in _GONE:
            need = _GONE[name]
            raise HarnessError(
                f"denoise.{name} is gone: declare needs=({need!r},) in @sampler and take a "
                f"parameter {need}, see harness/samplers/base.py"
            )
        raise AttributeError(f"denoise has no {name}")

    def with_network(self, name: str) -> Denoiser:
        """The same with another network; the model's own where there is none of this name."""
        other = copy(self)
        other._name = name if name in self._networks else "main"
        return other

    def unadjusted(self) -> Denoiser:
        """The same without what rescales the guided output."""
        other = copy(self)
        other.policy = self.policy.unadjusted
        return other

    @property
    def model(self) -> Network:
        return self._networks[self._name].network

    def count(self, branch: str) -> torch.Tensor:
        """How often each sample's branch was evaluated by the present network."""
        return self.evaluations[self._name, branch]

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
        is conditioned on, where it differs from sigma; `step` the level at which the current step
        began, which decides for guidance policies (by default sigma).
        """
        sigma = torch.as_tensor(sigma, dtype=torch.float64)
        time = sigma if time is None else torch.as_tensor(time, dtype=torch.float64)
        began = level_of(sigma if step is None else step)
        asked = torch.as_tensor(guidance, dtype=torch.float64).cpu().expand(len(x))
        scale, further = self.policy.scale(asked, began), self.policy.further(began)
        need_u, need_c = self.policy.needs(scale)
        known = need_u & need_c
        u_rows, c_rows = Rows(need_u, x.device), Rows(need_c | bool(further), x.device)
        self._check_unconditional(u_rows, asked)
        estimates = self.policy.estimates or self._guide is not None
        u, c = self._branches(x, (sigma, time), (u_rows, c_rows), estimates=estimates)
        pushed = self._pushed(x, (sigma, time), c, further, estimates=estimates)
        output = c
        if further or bool(known.any()):
            mixed = known | bool(further)
            output = chosen(mixed, self.policy.combine(u, c, scale, began, pushed), c)
        if not estimates:
            output = self.model.denoised(x, sigma, output)
            one = not bool(known.any())  # then `applied` needs neither
            u, c = (output if one else self.model.denoised(x, sigma, raw) for raw in (u, c))
        plain = self.policy.linear and not further
        self.applied.see(scale, (u, c, output), (x, sigma), known, plain=plain)
        return output

    def _check_unconditional(self, rows: Rows, asked: torch.Tensor) -> None:
        own = self._networks[self._name]
        if rows.count and own.negative is None and self._guide is None:
            raise HarnessError(
                f"{self.model.name} has no unconditional branch: guidance must be 1, not "
                f"{float(asked[rows.need][0]):g}, or give a second network (--guide)"
            )

    def _branches(
        self, x: torch.Tensor, levels: Levels, needed: tuple[Rows, Rows], *, estimates: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The two branches u and c [B, ...]: raw outputs, or `estimates` of x0, which networks of
        different prediction types have in common."""
        own, (u_rows, c_rows) = self._networks[self._name], needed
        self.count("cond").add_(c_rows.need)
        away = own if self._guide is None else self._guide
        if self._guide is None:
            self.count("uncond").add_(u_rows.need)
            u, c = both(own, x, levels, u_rows, c_rows)
        else:
            self.evaluations["guide", "cond"] += u_rows.need
            u, c = alone(away, x, levels, u_rows), alone(own, x, levels, c_rows)
        if estimates:
            u = denoised(away.network, x, levels[0], u_rows, u)
            c = denoised(own.network, x, levels[0], c_rows, c)
        return spread(u, u_rows, c, c_rows), spread(c, c_rows, u, u_rows)

    def _pushed(
        self,
        x: torch.Tensor,
        levels: Levels,
        c: torch.Tensor,
        further: list[GuidancePolicy],
        *,
        estimates: bool,
    ) -> torch.Tensor | float:
        """The sum over policies with a further branch p: strength times (c - p)."""
        own = self._networks[self._name]
        pushed: torch.Tensor | float = 0.0
        for policy in further:
            assert policy.branch is not None
            rows = Rows(torch.ones(len(x), dtype=torch.bool), x.device)
            self.count(policy.branch).add_(rows.need)
            altered = Conditioned(policy.altered(own.network), own.condition)
            p = alone(altered, x, levels, rows)
            p = denoised(own.network, x, levels[0], rows, p) if estimates else p
            pushed = pushed + policy.strength * (c - p)
        return pushed


def _check_outputs(policy: ClassifierFree, model: Network, guide: Conditioned | None) -> None:
    """Raise HarnessError for a policy of noise or velocities where no one network has any."""
    if not policy.outputs:
        return
    names = "cfg_zero_star and tcfg combine a network's predictions of noise or velocity"
    if guide is not None:
        raise HarnessError(f"{names}, not those of two networks: leave --guide out")
    if isinstance(model, SigmaSpaceModel):
        raise HarnessError(f"{names}; {model.name} predicts pictures: take a diffusers pipeline")


def level_of(sigma: torch.Tensor | float) -> float:
    """The level at which a step begins, of a map the highest."""
    return float(sigma.max() if isinstance(sigma, torch.Tensor) else sigma)
