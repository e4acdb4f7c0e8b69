"""EDM's pixel-space networks, adapted to the model contract; their state is sigma-space already."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch.nn import functional as F

from harness.core.errors import HarnessError
from harness.models.base import Condition, SigmaSpaceModel, check_side
from harness.models.class_labels import encode_classes
from harness.models.edm.edm_network import EdmNetwork
from harness.models.edm.grids import GRIDS, RANGES
from harness.models.ladders import check_ladder, choose_spacing, grid_of_levels


class EdmLevels:
    """Ladders of an EDM network; needs no weights."""

    def __init__(self, name: str, net: EdmNetwork) -> None:
        self.name, self.net = name, net

    def ladder(
        self,
        steps: int,
        spacing: str | None = None,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        rho: float | None = None,
    ) -> torch.Tensor:
        """The sigmas [steps+1] of a run, cut to the network's range, then 0; float64.

        Even in sigma^(1/rho), rho 7 (Karras et al. 2022, equation 5), by the other grids of levels
        (ladders.py), or by the spacings of grids.py, each of which has its own `sigma_min` and
        `sigma_max`; for pictures in [-1, 1].
        """
        spacing = choose_spacing(spacing, "karras", RANGES, rho, f"model {self.name}")
        low = max(sigma_min or RANGES[spacing][0], self.net.sigma_min)
        high = min(sigma_max or RANGES[spacing][1], self.net.sigma_max)
        if low >= high:
            raise HarnessError(
                f"sigma_min {low:.6g} must lie below sigma_max {high:.6g}: {self.name} knows "
                f"{self.net.sigma_min:.6g} to {self.net.sigma_max:.6g}"
            )
        grid = GRIDS.get(spacing) or partial(grid_of_levels, spacing, rho=rho)
        return check_ladder(F.pad(self.round(grid(steps, low, high)), (0, 1)))

    def round(self, sigma: torch.Tensor) -> torch.Tensor:
        """The network's levels nearest to `sigma`, on its device, float64."""
        return self.net.round_sigma(sigma.to(torch.float64)).to(sigma.device)


class EdmModel(SigmaSpaceModel, EdmLevels):
    """A loaded network. Pictures are [B, C, R, R] in [-1, 1], C 1 or 3."""

    decodes_apart = True

    def __init__(self, name: str, net: EdmNetwork, device: str) -> None:
        super().__init__(name, net.to(device))
        self.device, self.state_dtype = torch.device(device), net.state_dtype
        self.classes: int | None = net.label_dim

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        resolution = self.net.img_resolution
        check_side(self.name, size, resolution * self.net.downsampling)
        return (self.net.img_channels, resolution, resolution)

    def encode(self, prompts: Sequence[str]) -> Condition:
        return encode_classes(prompts, self.net.label_dim, self.name, self.device)

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """The estimate D of x0 at level `time`, one for all or one a sample; float32."""
        if time.ndim and time[0].numel() > 1:
            raise HarnessError(
                f"model {self.name} knows one sigma for a picture, not one for each pixel: take "
                "another sampler or a model of Stable Diffusion"
            )
        classes = self.net.label_dim
        labels = F.one_hot(condition["class"], classes) if classes else None
        return self.net(x, time.to(x.device, non_blocking=True), labels)

    def decode(self, native: torch.Tensor) -> torch.Tensor:
        """Pictures, truncated to integers as published; grey ones get three equal channels."""
        pixels = (native * 127.5 + 128).clamp(0, 255).to(torch.uint8)
        return pixels.expand(-1, 3, -1, -1).contiguous()
