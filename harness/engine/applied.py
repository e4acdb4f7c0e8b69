"""The guidance scale applied at every evaluation of a batch, and the distance of its branches."""

from __future__ import annotations

import torch


class Applied:
    """Guidance scales and norms of c - u at each evaluation of a batch, in order.

    A list entry is one evaluation's [B]: `scales`, w of u + w (c - u), for a policy that is no such
    sum the projection on c - u; and `pushes`, the norm of c - u as predictions of unit noise, NaN
    where only one of the two was evaluated. They stay where they are, on the CPU or the state's
    device, until the batch is done.
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
        """Record one evaluation: `estimates` are D_u, D_c and the guided D; `both` [B], where both
        branches were evaluated.

        `at` is the state x and its level sigma; `weight` and `both` are on the CPU.
        """
        self.scales.append(weight.double())
        self.pushes.append(torch.full((len(weight),), torch.nan, dtype=torch.float64))
        if not bool(both.any()):
            return
        u, c, guided = estimates
        apart, sigma = c - u, at[1]
        level = float(sigma) if sigma.ndim == 0 else sigma.to(u)
        push = torch.linalg.vector_norm((apart / level).flatten(1), dim=1)
        known = both.to(u.device, non_blocking=True)
        self.pushes[-1] = push if bool(both.all()) else torch.where(known, push, torch.nan)
        if not plain:
            across = apart.flatten(1)
            square = (across**2).sum(1)
            projected = ((guided - u).flatten(1) * across).sum(1) / square
            weight = weight.to(projected, non_blocking=True)
            self.scales[-1] = torch.where(known & (square > 0), projected, weight)

    def gathered(self) -> list[torch.Tensor]:
        """All that is recorded, in few tensors, where it is."""
        return [_together(rows) for rows in (self.scales, self.pushes) if rows]

    def replace(self, gathered: list[torch.Tensor]) -> None:
        """Take copies of `gathered` in place of what is recorded."""
        if gathered:
            self.scales, self.pushes = list(gathered[0]), list(gathered[1])

    def stacked(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scales and pushes [K, B], float64 on the CPU."""
        return _together(self.scales).cpu(), _together(self.pushes).cpu()


def _together(rows: list[torch.Tensor]) -> torch.Tensor:
    """All rows [K, B] in float64, on the device of those that are not on the CPU."""
    devices = [row.device for row in rows if row.device.type != "cpu"]
    device = devices[0] if devices else torch.device("cpu")
    return torch.stack([row.to(device, torch.float64, non_blocking=True) for row in rows])
