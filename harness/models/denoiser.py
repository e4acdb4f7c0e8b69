"""The one place around the network: counts evaluations, skips useless ones, batches the rest."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Protocol

import torch

from harness.errors import HarnessError
from harness.models.base import Condition, Network, join, take


class Policy(Protocol):
    """How branches become one output; see samplers/guidance.py."""

    def scale(self, guidance: torch.Tensor, step: torch.Tensor) -> torch.Tensor: ...

    def branches(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...

    def combine(self, u: torch.Tensor, c: torch.Tensor, weight: torch.Tensor) -> torch.Tensor: ...


class Denoiser:
    """`D = denoise(x, sigma, guidance=w)` for one batch; what samplers see of a model.

    `evaluations` counts, for each (network, branch), how often each sample [B] was evaluated.
    """

    def __init__(
        self,
        model: Network,
        condition: Condition,
        negative: Condition | None,
        policy: Policy,
        variants: Mapping[str, Network] | None = None,
    ) -> None:
        self._networks = {"main": model, **(variants or {})}
        self._name = "main"
        self.policy = policy
        self._condition, self._negative = condition, negative
        size = len(next(iter(condition.values())))
        self.evaluations = {
            (name, branch): torch.zeros(size, dtype=torch.int32)
            for name in self._networks
            for branch in ("cond", "uncond")
        }

    def variant(self, name: str) -> Denoiser:
        """The same with another network; the model's own where there is none of this name."""
        other = copy(self)
        other._name = name if name in self._networks else "main"
        return other

    @property
    def model(self) -> Network:
        return self._networks[self._name]

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
        need_u, need_c = (need.cpu() for need in self.policy.branches(weight))
        if self._negative is None and bool(need_u.any()):
            raise HarnessError(
                f"{self.model.name} has no unconditional branch: guidance must be 1, not "
                f"{float(asked[need_u.nonzero()[0, 0]]):g}"
            )
        self.evaluations[self._name, "uncond"] += need_u
        self.evaluations[self._name, "cond"] += need_c
        output = self._combined(x, sigma, time, weight, need_u, need_c)
        return self.model.denoised(x, sigma, output)

    def _combined(
        self,
        x: torch.Tensor,
        sigma: torch.Tensor,
        time: torch.Tensor,
        weight: torch.Tensor,
        need_u: torch.Tensor,
        need_c: torch.Tensor,
    ) -> torch.Tensor:
        """One network call for all needed rows, unconditional ones first."""
        u_rows, c_rows = need_u.nonzero()[:, 0], need_c.nonzero()[:, 0]
        rows = torch.cat([u_rows, c_rows]).to(x.device)
        parts = []
        if self._negative is not None and len(u_rows):
            parts.append(take(self._negative, u_rows.to(x.device)))
        if len(c_rows):
            parts.append(take(self._condition, c_rows.to(x.device)))
        raw = self.model.network(x[rows], _rows(sigma, rows), _rows(time, rows), join(parts))
        raw = raw.to(x.dtype)
        raw_u, raw_c = raw[: len(u_rows)], raw[len(u_rows) :]
        both = need_u & need_c
        if bool(both.all()):
            return self.policy.combine(raw_u, raw_c, weight)
        if not bool(both.any()) and (not len(u_rows) or not len(c_rows)):
            return raw
        out = torch.empty_like(x)
        out[u_rows] = raw_u
        out[c_rows] = raw_c
        if bool(both.any()):
            u, c = raw_u[both[u_rows]], raw_c[both[c_rows]]
            out[both] = self.policy.combine(u, c, weight[both])
        return out


def _rows(level: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """A scalar level as it is; a level per sample or pixel, for the chosen rows."""
    return level if level.ndim == 0 else level.to(rows.device)[rows]
