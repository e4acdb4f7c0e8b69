"""The schedule of a captured pipeline: its scheduler's own levels and times, in sigma."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from math import exp
from typing import Any

import torch

from harness.core.errors import HarnessError, first_line
from harness.models.ladders import (
    GRIDS_OF_LEVELS,
    check_ladder,
    check_range,
    choose_spacing,
    ladder_of_levels,
)
from harness.models.pipelines.flow import FlowSchedule
from harness.models.pipelines.noise_schedule import DiscreteSchedule
from harness.models.pipelines.pipeline_model import Schedule

AskTimesteps = Callable[[int], tuple[Any, dict[str, Any]]]
"""The arguments with which the pipeline sets its scheduler's timesteps, by the number of steps."""

_FIRST = 1 - 1e-6


class CapturedSchedule:
    """A scheduler's own levels as ladders, over a schedule in sigma; see the kinds below.

    `base` is the family's schedule in sigma, from which named spacings come. The pipeline's state
    is x itself where `plain`, as with Euler's schedulers, else the network's own input.
    """

    base: Schedule
    last = 0.0

    def __init__(self, scheduler: Any, ask: AskTimesteps, plain: bool) -> None:
        self.scheduler, self._ask, self.plain = scheduler, ask, plain
        self.double = self.base.double
        self._exact: dict[float, float] = {}
        self.sigma_max = float(self.own(4)[0])

    @lru_cache(maxsize=64)  # noqa: B019  # a process holds few schedules
    def timed(self, steps: int) -> Any:
        """The scheduler with the timesteps that the pipeline gives it for a number of steps."""
        args, kwargs = self._ask(steps)
        made = copy.deepcopy(self.scheduler)
        try:
            made.set_timesteps(*args, **kwargs)
        except (ValueError, TypeError, IndexError, ZeroDivisionError) as error:
            name = type(self.scheduler).__name__
            raise HarnessError(f"{name} does not take {steps} steps: {first_line(error)}") from None
        return made

    def levels(self, timed: Any) -> torch.Tensor:
        """The sigmas of a scheduler with its timesteps set, the last level included."""
        raise NotImplementedError

    def own(self, steps: int) -> torch.Tensor:
        """The sigmas of the pipeline's own steps, [steps+1]; their times are known exactly."""
        timed = self.timed(steps)
        sigmas = self.levels(timed)
        times = torch.unique_consecutive(timed.timesteps.double().cpu())
        self._exact |= dict(zip(sigmas.tolist(), times.tolist(), strict=False))
        return sigmas

    def ladder(self, steps: int, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The sigmas [steps+1] of a run, float64: without a spacing or a range the pipeline's own;
        otherwise see `FlowSchedule.ladder` and `DiscreteSchedule.ladder`."""
        if all(value is None for value in (*args, *kwargs.values())):
            return check_ladder(self.own(steps))
        return self.base.ladder(steps, *args, **kwargs)

    def time_of(self, sigma: torch.Tensor) -> torch.Tensor:
        """The scheduler's time: at the levels of a ladder of its own what it gives itself (some
        round), at others by its family's law."""
        if sigma.ndim == 0 and (known := self._exact.get(float(sigma))) is not None:
            return torch.tensor(known, dtype=torch.float64)
        return self.time_between(sigma)

    def time_between(self, sigma: torch.Tensor) -> torch.Tensor:
        return self.base.time_of(sigma)

    def sigma_of(self, time: torch.Tensor) -> torch.Tensor:
        return self.base.sigma_of(time)

    def network_input(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """What the network takes for the state x of level sigma."""
        return self.base.native(x, sigma)

    def native(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The pipeline's own state."""
        return x if self.plain else self.base.native(x, sigma)

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        return self.base.denoised(x, sigma, output)

    def start(self, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The state of level sigma that unit noise is: at the pipeline's first level what it begins
        with itself, lower of the variance of a state."""
        return noise * (1 + sigma**2).sqrt()

    def scale(self, time: float) -> float:
        """What the network's input is of the pipeline's state, at the scheduler's time."""
        if not self.plain:
            return 1.0
        sigma = self.sigma_of(torch.tensor(time, dtype=torch.float64))
        return float(self.network_input(torch.ones((), dtype=torch.float64), sigma))


class CapturedFlow(CapturedSchedule):
    """Rectified flow; `base` has the pipeline's shift at the usual number of steps."""

    def __init__(self, scheduler: Any, ask: AskTimesteps, plain: bool, steps: int) -> None:
        self.base = FlowSchedule(1.0, 1e-3, 1000)
        super().__init__(scheduler, ask, plain)
        count = int(scheduler.config.num_train_timesteps)
        shift = self._shift(ask(steps)[1].get("mu"))
        lowest = 1 / count
        self.base = FlowSchedule(shift, lowest, count)
        self._table = self._times(count)

    def _shift(self, mu: float | None) -> float:
        config = self.scheduler.config
        if config.get("use_dynamic_shifting") and mu is not None:
            return exp(mu) if config.get("time_shift_type") != "linear" else float(mu)
        return float(getattr(self.scheduler, "shift", None) or config.get("flow_shift") or 1.0)

    def _times(self, count: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Flow times and the scheduler's times at all its levels, rising; None where the latter are
        `count` times the former, as they mostly are."""
        timed = self.timed(count)
        own = timed.timesteps.double().cpu()
        flow = timed.sigmas.double().cpu()[: len(own)]
        if float((own - count * flow).abs().max()) < 1e-3 * count / 1000 + 1.0 * _whole(own):
            return None
        return flow.flip(0).contiguous(), own.flip(0).contiguous()

    def ladder(
        self, steps: int, *args: Any, shift: float | None = None, **kwargs: Any
    ) -> torch.Tensor:
        """As `CapturedSchedule.ladder`; `shift` replaces the pipeline's own."""
        if shift is not None:
            kwargs["shift"] = shift
        return super().ladder(steps, *args, **kwargs)

    def levels(self, timed: Any) -> torch.Tensor:
        flow = torch.unique_consecutive(timed.sigmas.double().cpu()).clamp(max=_FIRST)
        return flow / (1 - flow)

    def time_between(self, sigma: torch.Tensor) -> torch.Tensor:
        if self._table is None:
            return self.base.time_of(sigma)
        sigma = sigma.double()
        flow = torch.where(sigma >= self.sigma_max * (1 - 1e-9), 1.0, sigma / (1 + sigma))
        return _interpolated(flow, *self._table)

    def sigma_of(self, time: torch.Tensor) -> torch.Tensor:
        if self._table is None:
            return self.base.sigma_of(time)
        flow = _interpolated(time.double(), *reversed(self._table)).clamp(max=_FIRST)
        return flow / (1 - flow)

    def start(self, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        if sigma.ndim == 0 and float(sigma) >= self.sigma_max * (1 - 1e-9):
            return noise * (1 + sigma)
        return super().start(noise, sigma)


class CapturedDiscrete(CapturedSchedule):
    """A discrete variance-preserving schedule, by the scheduler's own table."""

    base: DiscreteSchedule

    def __init__(self, scheduler: Any, ask: AskTimesteps, plain: bool) -> None:
        config = scheduler.config
        ends = float(getattr(scheduler, "final_alpha_cumprod", torch.tensor(1.0))) == 1.0
        self.base = DiscreteSchedule(
            scheduler.alphas_cumprod,
            spacing=config.get("timestep_spacing") or "leading",
            steps_offset=int(config.get("steps_offset") or 0),
            set_alpha_to_one=ends or plain,
            prediction=config.get("prediction_type") or "epsilon",
        )
        super().__init__(scheduler, ask, plain)

    @property
    def times(self) -> tuple[int, int]:
        """The timestep of a run's last evaluation, and the number of timesteps."""
        return self.base.times

    def levels(self, timed: Any) -> torch.Tensor:
        if hasattr(timed, "sigmas"):
            return torch.unique_consecutive(timed.sigmas.double().cpu())
        times = torch.unique_consecutive(timed.timesteps.double().cpu())
        return torch.nn.functional.pad(self.base.sigma_of(times), (0, 1), value=self.base.last)


class CapturedEdm(CapturedSchedule):
    """EDM's levels and preconditioning (Karras et al. 2022, arXiv:2206.00364, table 1)."""

    def __init__(self, scheduler: Any, ask: AskTimesteps) -> None:
        self.base = EdmBase(scheduler)
        super().__init__(scheduler, ask, True)

    def levels(self, timed: Any) -> torch.Tensor:
        return timed.sigmas.double().cpu()


class EdmBase:
    """The levels and the preconditioning of one of diffusers' EDM schedulers, in sigma."""

    double = False

    def __init__(self, scheduler: Any) -> None:
        self._scheduler, config = scheduler, scheduler.config
        self._low, self._high = float(config.sigma_min), float(config.sigma_max)
        self._data, self._rho = float(config.sigma_data), float(config.rho)

    def time_of(self, sigma: torch.Tensor) -> torch.Tensor:
        return 0.25 * sigma.double().log()

    def sigma_of(self, time: torch.Tensor) -> torch.Tensor:
        return (4 * time.double()).exp()

    def native(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return x / (sigma.to(x.dtype) ** 2 + self._data**2).sqrt()

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self._scheduler.precondition_outputs(x, output, sigma.to(x.dtype))
        return made

    def ladder(
        self,
        steps: int,
        spacing: str | None = None,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        rho: float | None = None,
    ) -> torch.Tensor:
        """The sigmas [steps+1] of a run, by default even in sigma^(1/rho), then 0."""
        spacing = choose_spacing(spacing, "karras", GRIDS_OF_LEVELS, rho, "an EDM scheduler")
        low, high = sigma_min or self._low, sigma_max or self._high
        check_range(low, high, self._low, self._high)
        own = self._rho if spacing == "karras" else None
        return ladder_of_levels(spacing, steps, low, high, rho or own, 0.0)


def captured_schedule(
    scheduler: Any, ask: AskTimesteps, plain: bool, steps: int
) -> CapturedSchedule:
    """The schedule of a pipeline's scheduler; HarnessError for one that is not understood.

    `plain`: the network's input is not the pipeline's state itself, but scaled.
    """
    config, name = scheduler.config, type(scheduler).__name__
    if hasattr(scheduler, "precondition_outputs") and config.get("prediction_type") in (
        "epsilon",
        "v_prediction",
    ):
        return CapturedEdm(scheduler, ask)
    if config.get("prediction_type") == "flow_prediction" or hasattr(scheduler, "scale_noise"):
        return CapturedFlow(scheduler, ask, plain, steps)
    if hasattr(scheduler, "alphas_cumprod"):
        return CapturedDiscrete(scheduler, ask, plain)
    raise HarnessError(
        f"{name} is of no family that is understood: rectified flow, a discrete table of noise "
        "levels, or EDM's"
    )


def _interpolated(at: torch.Tensor, known: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Values between known rising points, linear; beyond them the line goes on."""
    known, values = (table.to(at.device, non_blocking=True) for table in (known, values))
    high = torch.searchsorted(known, at.contiguous()).clamp(1, len(known) - 1)
    low = high - 1
    share = (at - known[low]) / (known[high] - known[low])
    return values[low] + share * (values[high] - values[low])


def _whole(times: torch.Tensor) -> bool:
    """Whether times are whole numbers, as some schedulers round theirs."""
    return bool((times == times.round()).all())
