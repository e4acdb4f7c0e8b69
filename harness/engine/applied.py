"""What guidance did at every evaluation of a batch."""

from __future__ import annotations

import torch


class Applied:
    """The scale applied at each evaluation and how far its branches were apart, in order.

    A list entry is one evaluation's [B], float64: `scales`, w of u + w (c - u), for a policy that
    is no such sum the projection on c - u; and `pushes`, the norm of c - u as predictions of unit
    noise, NaN where only one of the two was evaluated.
    """

    def __init__(self) -> None:
        self.scales: list[torch.Tensor] = []
        self.pushes: list[torch.Tensor] = []

    def see(
        self,
        weight: torch.Tensor,
        estimates: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        at: tuple[torch.Tensor, torch.Tensor],
        both: torch.Tensor,
        *,
        plain: bool,
    ) -> None:
        """Take note of one evaluation: of D_u, D_c and the guided D, where `both` [B] are known.

        `at` is the state x and its level sigma.
        """
        sigma = at[1]
        u, c, guided = (estimate.flatten(1).double() for estimate in estimates)
        level = sigma.to(u).expand(estimates[0].shape) if sigma.ndim else sigma.to(u)
        toward = (estimates[1] - estimates[0]).double() / level
        push = torch.linalg.vector_norm(toward.flatten(1), dim=1)
        apart = c - u
        square = (apart**2).sum(1)
        scale = weight.to(u).expand(len(u))
        if not plain:
            projected = ((guided - u) * apart).sum(1) / square
            scale = torch.where(both.to(u.device) & (square > 0), projected, scale)
        self.scales.append(scale)
        self.pushes.append(torch.where(both.to(u.device), push, torch.nan))

    def stacked(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scales and pushes [K, B], on the CPU."""
        return torch.stack(self.scales).cpu(), torch.stack(self.pushes).cpu()
