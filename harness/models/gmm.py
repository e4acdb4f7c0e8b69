"""An exact denoiser: a Gaussian mixture whose posterior mean is known in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from harness.core.errors import HarnessError, unknown
from harness.models.base import MODELS, Condition, ModelEntry, SigmaSpaceModel, check_side
from harness.models.ladders import GRIDS_OF_LEVELS, check_range, choose_spacing, ladder_of_levels

CLASSES = 10
_STD = 0.1


class GaussianMixture(SigmaSpaceModel):
    """Pictures [3, 8, 8] in [-1, 1], float64, from one isotropic Gaussian a class.

    The prompt `class N` conditions on component N, the unconditional branch is the whole mixture.
    """

    classes: int | None = None  # its prompts are text to the harness: see `encode`
    sigma_min, sigma_max = 0.002, 80.0

    def __init__(self, name: str = "gmm", device: str = "cpu") -> None:
        self.name, self.device, self.state_dtype = name, torch.device(device), torch.float64
        waves = torch.arange(3 * 8 * 8, dtype=torch.float64).reshape(1, 3, 8, 8)
        frequency = torch.arange(1, CLASSES + 1, dtype=torch.float64).reshape(-1, 1, 1, 1)
        self.means = (0.8 * torch.sin(waves * frequency / 7)).to(self.device)  # [K, 3, 8, 8]

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        check_side(self.name, size, 8)
        return (3, 8, 8)

    def ladder(
        self,
        steps: int,
        spacing: str | None = None,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        rho: float | None = None,
    ) -> torch.Tensor:
        """Karras et al. 2022, equation 5, or another grid of levels; then 0."""
        spacing = choose_spacing(spacing, "karras", GRIDS_OF_LEVELS, rho, f"model {self.name}")
        low, high = sigma_min or self.sigma_min, sigma_max or self.sigma_max
        check_range(low, high, self.sigma_min, self.sigma_max)
        return ladder_of_levels(spacing, steps, low, high, rho, 0.0)

    def encode(self, prompts: Sequence[str]) -> Condition:
        chosen = torch.zeros(len(prompts), CLASSES, dtype=torch.bool, device=self.device)
        for row, prompt in enumerate(prompts):
            if not prompt.strip():
                chosen[row] = True
                continue
            word, _, number = prompt.strip().partition(" ")
            if word != "class" or not number.isdigit() or int(number) >= CLASSES:
                raise HarnessError(
                    f"model {self.name} knows the prompts 'class 0' to 'class {CLASSES - 1}', and "
                    f"the empty one for the whole mixture, not {prompt!r}"
                )
            chosen[row, int(number)] = True
        return {"components": chosen}

    def encode_negative(self, negatives: Sequence[str | None]) -> Condition | None:
        super().encode_negative(negatives)
        return self.encode([""] * len(negatives))

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """The posterior mean of x0 under the conditioned components, at level `time`."""
        variance = _STD**2 + time.to(x.dtype) ** 2
        offset = x[:, None] - self.means  # [B, K, 3, 8, 8]
        spread = variance if variance.ndim == 0 else variance[:, None]
        log_density = -(offset**2 / (2 * spread)).sum((2, 3, 4))
        weight = log_density.masked_fill(~condition["components"], -torch.inf).softmax(1)
        mean = (weight[:, :, None, None, None] * self.means).sum(1)
        return mean + _STD**2 / variance * (x - mean)

    def decode(self, native: torch.Tensor) -> torch.Tensor:
        return ((native + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _make(overrides: dict[str, Any], device: str = "cpu") -> GaussianMixture:
    for name in overrides:
        raise unknown("parameter", name, [], where="model gmm")
    return GaussianMixture(device=device)


MODELS.add(
    "gmm",
    ModelEntry(
        name="gmm",
        title="exact Gaussian mixture of 8x8 pictures",
        source="closed form, for tests and teaching",
        licence="Apache-2.0",
        size=(8, 8),
        size_multiple=8,
        steps=20,
        guidance=2.0,
        batch_size=32,
        dtype="float64",
        revision=lambda: "1",
        ladders=lambda overrides: _make(overrides),
        known=lambda prompts: GaussianMixture().encode(prompts),
        load=lambda request: _make(request.overrides, request.device),
    ),
)
