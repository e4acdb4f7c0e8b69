"""Classifier-free guidance, and the policies that change it, put together."""

from __future__ import annotations

from typing import Any

import torch

from harness.engine.policies.base import GuidancePolicy, PolicyContext, policies


class ClassifierFree:
    """Classifier-free guidance: out = u + w (c - u) (Ho & Salimans 2022, arXiv:2207.12598).

    w = 1 is the conditional output alone, w = 0 the unconditional one alone. `changes` are applied
    in order. One serves one batch.
    """

    def __init__(self, *changes: GuidancePolicy) -> None:
        self.changes = changes
        self.linear = all(change.linear for change in changes)
        self.estimates = any(change.estimates for change in changes)
        self.outputs = any(change.outputs for change in changes)
        self._conditional = any(change.conditional for change in changes)

    @property
    def branches(self) -> list[str]:
        """The names of further branches, of altered networks."""
        return [change.branch for change in self.changes if change.branch]

    @property
    def unadjusted(self) -> ClassifierFree:
        """The same without the changes that adjust the whole output."""
        plain = GuidancePolicy.adjusted
        return ClassifierFree(*(one for one in self.changes if type(one).adjusted is plain))

    def acts(self, step: float) -> bool:
        return all(change.acts(step) for change in self.changes)

    def further(self, step: float) -> list[GuidancePolicy]:
        """The policies whose further branch is evaluated at a step."""
        if not self.acts(step):
            return []
        return [one for one in self.changes if one.branch and one.pushes(step)]

    def scale(self, guidance: torch.Tensor, step: float) -> torch.Tensor:
        """The scale w [B] applied at a step that begins at level `step`; `guidance` [B] is the
        sampler's own."""
        if not self.acts(step):
            return torch.ones_like(guidance)
        for change in self.changes:
            guidance = change.scale(guidance, step)
        return guidance

    def needs(self, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Which samples [B] need the unconditional and which the conditional output."""
        return scale != 1, (scale != 0) | self._conditional

    def combine(
        self,
        u: torch.Tensor,
        c: torch.Tensor,
        scale: torch.Tensor,
        step: float,
        pushed: torch.Tensor | float = 0.0,
    ) -> torch.Tensor:
        """One output [B, ...] from both, of the whole batch; `pushed` is added.

        The result is not used for samples that need one branch only.
        """
        guided = u + per_sample(scale, u) * (c - u)
        for change in self.changes:
            guided = change.combined(guided, (u, c), scale, step)
        guided = guided + pushed
        for change in self.changes:
            guided = change.adjusted(guided, c)
        return guided


def per_sample(scale: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Numbers [B] on the CPU as a factor of x [B, ...]: one number if they are alike, so that
    nothing need go to the device of x."""
    if bool((scale == scale[0]).all()):
        return scale[0]
    return scale.to(x.device, x.dtype, non_blocking=True).reshape(-1, *[1] * (x.ndim - 1))


def chosen(mask: torch.Tensor, yes: torch.Tensor, no: Any) -> Any:
    """`yes` [B, ...] for the samples of `mask` [B], on the CPU, and `no` for the others."""
    if bool(mask.all()):
        return yes
    if not bool(mask.any()):
        return no
    mask = mask.to(yes.device, non_blocking=True)
    return torch.where(mask.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)


def make_guidance(
    sigmas: torch.Tensor,
    *,
    guidance: float | None = None,
    scales: torch.Tensor | None = None,
    **params: Any,
) -> ClassifierFree:
    """Guidance with the policies that `params` belong to; the rest as in PolicyContext."""
    at = PolicyContext(sigmas, guidance, scales)
    changes = []
    for entry in policies():
        given = {name: params.pop(name) for name in entry.parameters if name in params}
        if given:
            changes.append(entry.make(at, **given))
    if params:
        raise TypeError(f"no policy has a parameter {next(iter(params))}")
    return ClassifierFree(*changes)
