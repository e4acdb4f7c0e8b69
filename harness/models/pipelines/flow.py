"""Rectified flow in sigma: z = (1 - t) x0 + t n, so x = z / (1 - t) and sigma = t / (1 - t).

Liu et al. 2022, arXiv:2209.03003; with the shifted times of Esser et al. 2024, arXiv:2403.03206,
section 5.3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, isclose
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from typing_extensions import Self

from harness.core.errors import HarnessError
from harness.models.ladders import (
    check_ladder,
    check_range,
    choose_spacing,
    grid_of_levels,
    ladder_of_levels,
)
from harness.models.pipelines.configurations import CheckpointSettings

_IN_TIME = ("exponential", "polyexponential", "beta")
_SPACINGS = ("linspace", "trailing", "karras", "even", *_IN_TIME)
_FIRST = 1 - 1e-6
"""The time used in place of 1, where sigma is infinite; the network's input is 1."""

_OTHER_GRIDS = (
    "invert_sigmas",
    "shift_terminal",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "stochastic_sampling",
)


class FlowSettings(CheckpointSettings):
    """The settings read from a FlowMatchEulerDiscreteScheduler's configuration.

    `mu` is the user's own shift (its logarithm, or itself where `time_shift_type` is linear) for a
    checkpoint with dynamic shifting.
    """

    num_train_timesteps: Annotated[int, Field(ge=2)] = 1000
    shift: Annotated[float, Field(gt=0)] | None = None
    use_dynamic_shifting: bool = False
    base_shift: float | None = None
    max_shift: float | None = None
    base_image_seq_len: int | None = None
    max_image_seq_len: int | None = None
    time_shift_type: Literal["exponential", "linear"] = "exponential"
    mu: float | None = None

    @classmethod
    def read(cls, config: Mapping[str, Any], overrides: Mapping[str, Any]) -> Self:
        settings = super().read(config, overrides)
        for name in _OTHER_GRIDS:
            if config.get(name):
                raise HarnessError(
                    f"the checkpoint's scheduler_config.json asks for {name}={config[name]!r}, "
                    "which is not supported: set it to false there"
                )
        dynamic = ("base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len")
        for name in dynamic if settings.use_dynamic_shifting else ("shift",):
            if getattr(settings, name) is None and settings.mu is None:
                raise HarnessError(
                    f"the checkpoint's scheduler_config.json has no {name}; give it as "
                    f"MODEL({name}=...)"
                )
        if settings.mu is not None and not settings.use_dynamic_shifting:
            raise HarnessError("mu is for checkpoints with dynamic shifting: give shift")
        return settings

    def dynamic_mu(self, tokens: int) -> float:
        """The shift (mu) for pictures of `tokens` patches, linear between the two given sizes."""
        assert self.base_shift is not None
        assert self.max_shift is not None
        assert self.base_image_seq_len is not None
        assert self.max_image_seq_len is not None
        slope = (self.max_shift - self.base_shift) / (
            self.max_image_seq_len - self.base_image_seq_len
        )
        return self.base_shift + slope * (tokens - self.base_image_seq_len)

    def schedule(self, tokens: int) -> FlowSchedule:
        """The schedule for pictures of `tokens` patches."""
        count = self.num_train_timesteps
        if not self.use_dynamic_shifting:
            assert self.shift is not None
            # The checkpoint's scheduler shifts its lowest time twice: once when it is made.
            lowest = _shifted(torch.tensor(1 / count, dtype=torch.float64), self.shift)
            return FlowSchedule(self.shift, float(lowest), count)
        mu = self.dynamic_mu(tokens) if self.mu is None else self.mu
        shift = exp(mu) if self.time_shift_type == "exponential" else mu
        return FlowSchedule(shift, 1 / count, count, None if self.mu is not None else self)


class FlowSchedule:
    """A flow model's schedule: its times as sigmas, its ladders, and its state's parametrisation.

    `shift` s moves time u to s u / (1 + (s - 1) u); grids are even before it, down to `lowest`. The
    network takes times in [0, times]. `dynamic` are the settings of a shift that depends on the
    picture's size.
    """

    double = True  # x = z / (1 - t) is of the order of 1e6 at the start

    def __init__(
        self, shift: float, lowest: float, times: int, dynamic: FlowSettings | None = None
    ) -> None:
        self.shift, self.lowest, self._times, self._dynamic = shift, lowest, times, dynamic
        self.sigma_max = _FIRST / (1 - _FIRST)

    def check_tokens(self, tokens: int) -> None:
        """Raise if a picture of `tokens` patches has another shift than the checkpoint's size."""
        if self._dynamic is not None and self._dynamic.schedule(tokens).shift != self.shift:
            raise HarnessError(
                "this checkpoint shifts its times with the picture's size: at this one it is "
                f"MODEL(mu={self._dynamic.dynamic_mu(tokens):.6g})"
            )

    def time_of(self, sigma: torch.Tensor) -> torch.Tensor:
        """1000 t for 1000 times; exactly 1000 at the first level."""
        sigma = sigma.double()
        t = sigma / (1 + sigma)
        return self._times * torch.where(sigma >= self.sigma_max * (1 - 1e-9), 1.0, t)

    def sigma_of(self, time: torch.Tensor) -> torch.Tensor:
        """The inverse of `time_of`."""
        return _sigma(time.double() / self._times)

    def native(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """z = (1 - t) x = x / (1 + sigma)."""
        return x / (1 + sigma.to(x.dtype))

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """D = z - t v of the network's velocity v = n - x0."""
        sigma = sigma.to(x.dtype)
        return (x - sigma * output) / (1 + sigma)

    def ladder(
        self,
        steps: int,
        spacing: str | None = None,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        rho: float | None = None,
        shift: float | None = None,
    ) -> torch.Tensor:
        """The sigmas [steps+1] of a run, from pure noise to 0; float64. `shift` replaces its own.

        `linspace` (the pipeline's own, also called `even`) and `trailing` are even in the time
        before its shift: the first down to the lowest time that the checkpoint's scheduler takes
        and then 0, the second down to 0. `karras` is even in sigma^(1/rho) from `sigma_max`, which
        it needs. `exponential`, `polyexponential` and `beta` are grids of the shifted times, as
        diffusers has them. With `sigma_max` or `sigma_min` the range is cut there.
        """
        if shift is not None:
            return self._shifted_by(shift).ladder(steps, spacing, sigma_min, sigma_max, rho)
        spacing = choose_spacing(spacing, "linspace", _SPACINGS, rho, "a flow model")
        bottom = float(_sigma(_shifted(torch.tensor(self.lowest).double(), self.shift)))
        high, low = sigma_max or self.sigma_max, sigma_min or bottom
        check_range(low, high, 1e-6, self.sigma_max)
        if spacing == "karras":
            if sigma_max is None:
                raise HarnessError(
                    "spacing=karras of a flow model needs sigma_max, for its own is infinite: for "
                    "example sigma_max=80"
                )
            return ladder_of_levels(spacing, steps, low, high, rho, 0.0)
        if spacing in _IN_TIME:
            ends = low / (1 + low), high / (1 + high)
            return self._to_zero(_sigma(grid_of_levels(spacing, steps, *ends, rho)), high)
        if spacing == "trailing" and sigma_min is None:
            low = 0.0
        first, last = (self._unshifted(level) for level in (high, low))
        levels = steps + 1 if spacing == "trailing" else steps
        times = torch.linspace(first, last, levels, dtype=torch.float64)[:steps]
        return self._to_zero(_sigma(_shifted(times, self.shift)), high)

    def _to_zero(self, sigmas: torch.Tensor, high: float) -> torch.Tensor:
        sigmas[0] = high
        return check_ladder(torch.nn.functional.pad(sigmas, (0, 1)))

    def _shifted_by(self, shift: float) -> FlowSchedule:
        """The schedule with another shift, its lowest time shifted where its own is."""
        first = torch.tensor(1 / self._times, dtype=torch.float64)
        follows = isclose(self.lowest, float(_shifted(first, self.shift)))
        lowest = float(_shifted(first, shift)) if follows else self.lowest
        return FlowSchedule(shift, lowest, self._times)

    def _unshifted(self, sigma: float) -> float:
        """The unshifted time of a level; 1 at the first."""
        if sigma >= self.sigma_max * (1 - 1e-9):
            return 1.0
        t = sigma / (1 + sigma)
        return t / (self.shift - (self.shift - 1) * t)


def _shifted(t: torch.Tensor, shift: float) -> torch.Tensor:
    return shift * t / (1 + (shift - 1) * t)


def _sigma(t: torch.Tensor) -> torch.Tensor:
    t = t.clamp(max=_FIRST)
    return t / (1 - t)
