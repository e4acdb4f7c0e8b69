"""The guidance scale of altered steps as "Guidance Matters" estimates it, by the name `ga_eval`.

Xie et al. 2026, "Guidance Matters: Rethinking the Evaluation Pitfall for Text-to-Image Generation",
arXiv:2602.22570. Of a step that a sampler takes, undoes and takes again, with y the prediction that
would have made the whole step from where it began, and u, c the branches of its first evaluation,

    | < y, c - u > | / || c - u ||^2,

in the network's own output (noise, v, a flow's velocity), as in the published code. u stays in y
and the sign is dropped, so this is not the weight that guidance has: with noise predictions that
are what they are at every state, it is |nominal scale + < u, c - u > / || c - u ||^2|. A picture's
scale is the plain mean over its altered steps, once a round; the last step is never altered. The
published code has other formulas for methods that change a single prediction (PAG, CFG++, APG and
more), which are not here. Never the default: coefficients.py has the scale that is matched.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch

from harness.engine.applied import Applied
from harness.models.base import Network

ALTERING = ("zigzag", "w2sd")
"""The samplers that alter steps as it is published: each is 1 + 2 * rounds evaluations."""


@dataclass(frozen=True)
class _Begun:
    """An altered step: its first state x [B, ...], level, and c - u [B, ...] as noise; which
    samples [B] have both branches; and the level that it leads to."""

    x: torch.Tensor
    level: float
    apart: torch.Tensor
    both: torch.Tensor
    to: float


class GaEval(Applied):
    """What guidance did, and the estimate; `step` [K] is where each evaluation's step begins.

    `rounds` holds each altered step's level and its scales [B], once for every round; NaN where
    c - u is not known or vanishes.
    """

    def __init__(self, step: torch.Tensor, network: Network) -> None:
        super().__init__()
        self.rounds: list[tuple[float, torch.Tensor]] = []
        self._network = network
        self._begun: _Begun | None = None
        starts = [0, *(torch.diff(step).nonzero()[:, 0] + 1).tolist()]
        altered = [(a, b) for a, b in pairwise(starts) if b - a > 1]
        self._leads_to = {a: float(step[b]) for a, b in altered}
        self._ends = {end for a, b in altered for end in range(a + 3, b + 1, 2)}

    def see(
        self,
        weight: torch.Tensor,
        estimates: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        at: tuple[torch.Tensor, torch.Tensor],
        both: torch.Tensor,
        *,
        plain: bool,
    ) -> None:
        place, (x, sigma) = len(self.scales), at
        super().see(weight, estimates, at, both, plain=plain)
        if self._begun is not None and place in self._ends:
            self.rounds.append((self._begun.level, self._scale(self._begun, x, float(sigma))))
        if place in self._leads_to:
            u, c, _ = estimates
            apart = (u - c).double() / float(sigma)
            known, to = both.to(x.device, non_blocking=True), self._leads_to[place]
            self._begun = _Begun(x.double(), float(sigma), apart, known, to)

    def _scale(self, begun: _Begun, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """Of a round that ended at `x`, which is at the step's end, or read at another level."""
        reached = x.double() * ((1 + begun.to**2) / (1 + sigma**2)) ** 0.5
        moved = (reached - begun.x) / (begun.to - begun.level)
        moved = (moved + self._shift(begun.level) * begun.x).flatten(1)
        apart = begun.apart.flatten(1)
        square = (apart**2).sum(1)
        known = begun.both & (square > 0)
        return torch.where(known, (moved * apart).sum(1).abs() / square, torch.nan)

    def _shift(self, level: float) -> float:
        """What of x is in the network's output, over what of the noise is in it.

        D = p x + q out, and so out = ((1 - p) x - sigma noise) / q.
        """
        one, sigma = torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.tensor(level).double()
        p = float(self._network.denoised(one, sigma, torch.zeros_like(one)))
        return (p - 1) / level

    def gathered(self) -> list[torch.Tensor]:
        rounds = [torch.stack([scale for _, scale in self.rounds])] if self.rounds else []
        return super().gathered() + rounds

    def replace(self, gathered: list[torch.Tensor]) -> None:
        super().replace(gathered)
        if self.rounds:
            levels = [level for level, _ in self.rounds]
            self.rounds = list(zip(levels, gathered[-1], strict=True))

    def scale(self, guidance: float) -> torch.Tensor:
        """The pictures' scales [B]; `guidance`, the sampler's own, where no step is altered."""
        if not self.rounds:
            return torch.full_like(self.scales[0], guidance, device="cpu")
        return torch.stack([scale for _, scale in self.rounds]).nanmean(0).cpu()
