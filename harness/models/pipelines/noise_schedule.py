"""The discrete variance-preserving noise schedule of Stable Diffusion, in sigma.

With alpha-bar the network's table: sigma = sqrt((1 - abar) / abar), x = z / sqrt(abar). Epsilon, v
(Salimans & Ho 2022) and sample prediction become D here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import torch
from pydantic import Field
from torch.nn import functional
from typing_extensions import Self

from harness.core.errors import HarnessError
from harness.models.align_your_steps import TABLES, ays_levels
from harness.models.ladders import (
    GRIDS_OF_LEVELS,
    RHO,
    Spacing,
    check_ladder,
    check_range,
    choose_spacing,
    close_ladder,
    ladder_of_levels,
    rho_grid,
)
from harness.models.pipelines.configurations import CheckpointSettings, read_json, read_scheduler

_LCM_TIMES = 50


class SchedulerSettings(CheckpointSettings):
    """The settings read from a checkpoint's scheduler configuration.

    The defaults are those of Stable Diffusion's own checkpoints: some fine-tunes' files leave keys
    out, and the defaults of diffusers' scheduler classes are another family's.
    """

    beta_start: float | None = None
    beta_end: float | None = None
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] | None = None
    trained_betas: list[float] | None = None
    num_train_timesteps: Annotated[int, Field(ge=2)] = 1000
    rescale_betas_zero_snr: bool = False
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "epsilon"
    timestep_spacing: Literal["leading", "trailing", "linspace", "karras", "karras_rounded"] = (
        "leading"
    )
    steps_offset: Annotated[int, Field(ge=0)] = 1
    set_alpha_to_one: bool = False

    @classmethod
    def read(cls, config: Mapping[str, Any], overrides: Mapping[str, Any]) -> Self:
        if "sigma_data" in config or "sigma_max" in config:  # as Playground v2.5
            raise HarnessError(
                f"the checkpoint's scheduler, {config.get('_class_name')}, is of the continuous "
                "family of sigma: pipelines of this class are run on a discrete noise schedule, "
                "and on another one its pictures would be wrong. This checkpoint cannot be run"
            )
        settings = super().read(config, overrides)
        if settings.trained_betas is None:
            for key in ("beta_start", "beta_end", "beta_schedule"):
                if getattr(settings, key) is None:
                    raise HarnessError(
                        f"the checkpoint's scheduler_config.json "
                        f"({config.get('_class_name', 'of no class')}) has no {key}. If it is of a "
                        f"discrete noise schedule, give it as MODEL({key}=...) from its authors"
                    )
        return settings

    def schedule(self) -> DiscreteSchedule:
        """The noise schedule; the table is diffusers' own, in float32 as the checkpoints'."""
        from diffusers import DDIMScheduler

        keys = {"beta_start", "beta_end", "beta_schedule", "trained_betas"}
        keys |= {"num_train_timesteps", "rescale_betas_zero_snr"}
        table = DDIMScheduler(**self.model_dump(include=keys, exclude_none=True)).alphas_cumprod
        return DiscreteSchedule(
            table,
            spacing=self.timestep_spacing,
            steps_offset=self.steps_offset,
            set_alpha_to_one=self.set_alpha_to_one,
            prediction=self.prediction_type,
        )


def read_schedule(folder: Path, overrides: Mapping[str, Any]) -> DiscreteSchedule:
    """The noise schedule of a pipeline folder, with the user's overrides of its settings."""
    schedule = SchedulerSettings.read(read_scheduler(folder), overrides).schedule()
    schedule.ays = TABLES.get(str(read_json(folder / "model_index.json").get("_class_name")))
    return schedule


class DiscreteSchedule:
    """A checkpoint's schedule: sigma of every timestep, its ladders, and its parametrisation.

    `alphas_cumprod` [T] is the checkpoint's table. `last` is the level after the last step:
    abar[0] (sigma 0.0292 for Stable Diffusion), or 0 where `set_alpha_to_one`. `ays` names the
    table of spacing=ays, if there is one.
    """

    double = False
    ays: str | None = None

    def __init__(
        self,
        alphas_cumprod: torch.Tensor,
        *,
        spacing: str = "leading",
        steps_offset: int = 0,
        set_alpha_to_one: bool = True,
        prediction: str = "epsilon",
    ) -> None:
        # A terminal abar of 0 (zero terminal SNR) has no finite sigma: 2^-24 as diffusers takes it.
        abar = alphas_cumprod.double().clamp(min=2.0**-24)
        self.sigmas = ((1 - abar) / abar).sqrt()
        self._log_sigmas = self.sigmas.log()
        self.spacing, self.steps_offset = spacing, steps_offset
        self.last = 0.0 if set_alpha_to_one else float(self.sigmas[0])
        self.prediction = prediction

    @property
    def sigma_min(self) -> float:
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        return float(self.sigmas[-1])

    def time_of(self, sigma: torch.Tensor) -> torch.Tensor:
        """The (fractional) timestep of sigma, in [0, T-1]; exact for the table's own levels."""
        table = self._log_sigmas.to(sigma.device, non_blocking=True)
        log = sigma.double().clamp(self.sigma_min, self.sigma_max).log()
        high = torch.searchsorted(table, log.contiguous()).clamp(1, len(table) - 1)
        low = high - 1
        return low + (log - table[low]) / (table[high] - table[low])

    @property
    def times(self) -> tuple[int, int]:
        """The timestep of a run's last evaluation, and the number of timesteps."""
        return self.steps_offset, len(self.sigmas)

    def sigma_of(self, time: torch.Tensor) -> torch.Tensor:
        """Sigma of a timestep in [0, T-1]; the inverse of `time_of` (linear in log sigma)."""
        table = self._log_sigmas.to(time.device, non_blocking=True)
        low = time.double().floor().clamp(0, len(table) - 1).long()
        high = (low + 1).clamp(max=len(table) - 1)
        log = table[low] + (time.double() - low) * (table[high] - table[low])
        exact = self.sigmas.to(time.device, non_blocking=True)[low]
        return torch.where(time == low, exact, log.exp())

    def native(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """z = x / sqrt(1 + sigma^2)."""
        return x / (1 + sigma.to(x.dtype) ** 2).sqrt()

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """D from the network's epsilon, v or sample prediction."""
        sigma = sigma.to(x.dtype)
        if self.prediction == "epsilon":
            return x - sigma * output
        if self.prediction == "v_prediction":
            return x / (1 + sigma**2) - sigma / (1 + sigma**2).sqrt() * output
        return output

    def ladder(
        self,
        steps: int,
        spacing: str | None = None,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        rho: float | None = None,
    ) -> torch.Tensor:
        """The sigmas [steps+1] of a run; float64.

        `leading` (also called `even`), `trailing` and `linspace` are even in the timestep, as
        diffusers names them, and end at the family's last level; with `sigma_max` or `sigma_min`
        the range of timesteps is cut there (`leading` then includes both ends). `karras` is even in
        sigma^(1/rho), and `karras_rounded` the same at the nearest timesteps, nearest in log sigma;
        `exponential`, `polyexponential` and `beta` are the other grids of levels (ladders.py).
        `ays` is a table, `lcm` are the timesteps of latent consistency models: neither has a range.
        """
        known = [name for name in get_args(Spacing) if name != "ays" or self.ays]
        spacing = choose_spacing(spacing, self.spacing, known, rho)
        low, high = sigma_min or self.sigma_min, sigma_max or self.sigma_max
        check_range(low, high, self.sigma_min, self.sigma_max)
        if spacing in ("ays", "lcm"):
            if sigma_min is not None or sigma_max is not None:
                raise HarnessError(f"spacing={spacing} takes no sigma_min and no sigma_max")
            return self._fixed(spacing, steps)
        if spacing in GRIDS_OF_LEVELS:
            return ladder_of_levels(spacing, steps, low, high, rho, self.last)
        if spacing == "karras_rounded":
            return close_ladder(
                lambda n: self._at(self.time_of(rho_grid(n, low, high, rho or RHO))),
                steps,
                low,
                self.last,
            )
        if steps >= len(self.sigmas):
            raise HarnessError(f"steps {steps}: the model knows {len(self.sigmas)} timesteps")
        final, first = self.time_of(torch.tensor([low, high])).round().tolist()
        if spacing == "linspace":
            return close_ladder(
                lambda n: self._at(torch.linspace(first, final, n, dtype=torch.float64)),
                steps,
                low,
                self.last,
            )
        if spacing == "trailing":
            times = _trailing(first, final, steps)
        elif sigma_min is not None or sigma_max is not None:
            times = torch.linspace(first, max(final, self.steps_offset), steps).double()
        else:
            stride = len(self.sigmas) // steps
            times = torch.arange(steps - 1, -1, -1) * stride + self.steps_offset
        if times[0].round() >= len(self.sigmas):
            raise HarnessError(
                f"steps_offset {self.steps_offset} puts the first of {steps} steps beyond the "
                f"model's {len(self.sigmas)} timesteps"
            )
        sigmas = self._at(times)
        if float(sigmas[-1]) != self.last:
            sigmas = functional.pad(sigmas, (0, 1), value=self.last)
        return check_ladder(sigmas)

    def _fixed(self, spacing: str, steps: int) -> torch.Tensor:
        """The sigmas [steps+1] of a ladder whose range is its own."""
        if spacing == "lcm":
            return functional.pad(
                self._at(_lcm_times(len(self.sigmas), steps)), (0, 1), value=self.last
            )
        assert self.ays is not None
        sigmas = ays_levels(self.ays, steps, self.sigma_min, self.sigma_max)
        sigmas[-1] = self.last
        return check_ladder(sigmas)

    def _at(self, times: torch.Tensor) -> torch.Tensor:
        """The sigmas of the nearest whole timesteps."""
        return self.sigmas[times.round().long()]


def _trailing(first: float, final: float, steps: int) -> torch.Tensor:
    """Whole timesteps [steps] from `first` down, the last of them a stride above `final` - 1.

    Rounded before 1 is subtracted, as diffusers does: ties go to the even number. By numpy's
    arange, whose rounding decides ties such as 3 * 1000/48 = 62.5.
    """
    top = first + 1
    return torch.from_numpy(np.arange(top, final, -(top - final) / steps)[:steps].round() - 1)


def _lcm_times(count: int, steps: int) -> torch.Tensor:
    """The timesteps [steps] of latent consistency models, as diffusers skips through the 50 that
    they were distilled at (Luo et al. 2023, arXiv:2310.04378)."""
    if steps > _LCM_TIMES:
        raise HarnessError(f"steps {steps}: spacing=lcm knows {_LCM_TIMES} timesteps")
    times = torch.arange(_LCM_TIMES, 0, -1) * (count // _LCM_TIMES) - 1
    return times[torch.linspace(0, _LCM_TIMES, steps + 1)[:-1].double().floor().long()]
