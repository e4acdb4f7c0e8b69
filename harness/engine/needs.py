"""The keyword arguments of samplers that need more than `denoise`: clock, attention and others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from harness.core.errors import HarnessError
from harness.engine.denoiser import Denoiser
from harness.samplers.base import HANDED, FindTargets, Noise, Sampler


def apply(
    sampler: Sampler,
    denoise: Denoiser,
    start: tuple[torch.Tensor, torch.Tensor, Noise],
    own: dict[str, Any],
    clock: Any = None,
    targets: FindTargets | None = None,
) -> torch.Tensor:
    """Run a sampler from `start`, x [B, ...], sigmas [N+1] and noise; its last state [B, ...].

    `own` are its parameters. `clock` converts levels and times: a model or its ladders, by default
    the denoiser's model. `targets` finds the objects of the batch's prompts.
    """
    needs: dict[str, Any] = {
        "clock": ModelClock(denoise.model if clock is None else clock, denoise.model.name),
        "variant": denoise.with_network,
        "unadjusted": Denoiser.unadjusted,
        "attention": CrossAttention(denoise),
        "targets": targets or _no_targets(denoise.model.name),
    }
    needs["renoise"] = needs["clock"].renoise
    handed = {need: needs[need] for need in HANDED if need in sampler.needs}
    return sampler.run(denoise, *start, **handed, **own)


@dataclass(frozen=True)
class ModelClock:
    """Conversion between a model's timesteps and levels, and renoising; see samplers.base.Clock."""

    model: Any
    name: str

    def time_of(self, sigma: torch.Tensor) -> torch.Tensor:
        return self._timed().time_of(sigma)

    def sigma_of(self, time: torch.Tensor) -> torch.Tensor:
        return self._timed().sigma_of(time)

    @property
    def times(self) -> tuple[int, int] | None:
        return getattr(self._timed(), "times", None)

    def round(self, sigma: torch.Tensor) -> torch.Tensor:
        return self.model.round(sigma) if hasattr(self.model, "round") else sigma

    def renoise(
        self,
        x: torch.Tensor,
        low: torch.Tensor,
        high: torch.Tensor,
        noise: Noise,
        scale: float = 1.0,
    ) -> torch.Tensor:
        """Add Gaussian noise, or what the model defines in its place (PFGM++)."""
        if hasattr(self.model, "renoise"):
            return self.model.renoise(x, low, high, noise, scale)
        return x + (high**2 - low**2).sqrt() * scale * noise()

    def _timed(self) -> Any:
        if not hasattr(self.model, "sigma_of"):
            raise HarnessError(
                f"{self.name} knows levels of noise only: this sampler, or this setting of "
                "it, needs a model with discrete times, such as a Stable Diffusion"
            )
        return self.model


@dataclass(frozen=True)
class CrossAttention:
    """A denoiser that also returns the conditional branch's cross-attention [B, tokens, h, w]."""

    denoise: Denoiser

    def __call__(
        self,
        x: torch.Tensor,
        sigma: torch.Tensor | float,
        guidance: torch.Tensor | float = 1.0,
        step: torch.Tensor | float | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        model: Any = self.denoise.model
        before = self.denoise.count("cond").clone()
        # Conditional rows are the last ones of a call.
        with model.attention_maps(tuple(x.shape[-2:]), slice(-len(x), None)) as maps:
            denoised = self.denoise(x, sigma, guidance=guidance, step=step)
        if bool((self.denoise.count("cond") == before).any()):
            raise HarnessError("attention maps are the conditional branch's: guidance 0 has none")
        return denoised, maps.mean


def _no_targets(name: str) -> FindTargets:
    def refuse(request: Any) -> Any:
        raise HarnessError(f"{name} takes no text, so there are no objects in it")

    return refuse
