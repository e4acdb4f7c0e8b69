"""Rectified flow's levels, against diffusers' own scheduler; no network."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.core.errors import HarnessError
from harness.models.pipelines.flow import FlowSchedule, FlowSettings

DYNAMIC = {
    "use_dynamic_shifting": True,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}


def _schedule(tokens: int = 1024, **found: Any) -> FlowSchedule:
    return FlowSettings.read(found or {"shift": 3.0}, {}).schedule(tokens)


@pytest.mark.parametrize("steps", [1, 2, 28])
@pytest.mark.parametrize(
    "found",
    [
        {"shift": 3.0},
        {"shift": 1.0},
        DYNAMIC,
        {**DYNAMIC, "time_shift_type": "linear"},
    ],
)
def test_the_ladder_is_the_schedulers(found: dict[str, Any], steps: int) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift

    theirs = FlowMatchEulerDiscreteScheduler(**found)
    mu = calculate_shift(1024) if "use_dynamic_shifting" in found else None
    theirs.set_timesteps(steps, mu=mu)
    schedule = _schedule(1024, **found)
    sigmas = schedule.ladder(steps)
    times = schedule.time_of(sigmas)
    assert times[0] == 1000
    torch.testing.assert_close(times, theirs.sigmas.double() * 1000, atol=2e-4, rtol=0)


@pytest.mark.parametrize("spacing", ["linspace", "trailing", "karras"])
@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_a_ladder_has_so_many_steps_within_its_bounds(spacing: str, steps: int) -> None:
    sigmas = _schedule().ladder(steps, spacing, sigma_min=0.01, sigma_max=80.0)
    assert sigmas.shape == (steps + 1,)
    assert float(sigmas[0]) == 80.0
    assert sigmas[-1] == 0
    assert bool((sigmas[1:] < sigmas[:-1]).all())
    if steps > 1 and spacing != "trailing":
        assert float(sigmas[-2]) == pytest.approx(0.01)


def test_trailing_is_even_before_the_shift() -> None:
    times = _schedule(shift=1.0).time_of(_schedule(shift=1.0).ladder(4, "trailing"))
    torch.testing.assert_close(times, torch.tensor([1000, 750, 500, 250, 0]).double())


def test_time_and_sigma_are_inverse_and_the_velocity_gives_x0() -> None:
    schedule = _schedule()
    sigmas = schedule.ladder(50)
    torch.testing.assert_close(schedule.sigma_of(schedule.time_of(sigmas)), sigmas)
    x0, n = torch.randn(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    for sigma in sigmas[:-1]:
        t = sigma / (1 + sigma)
        x = x0 + sigma * n
        torch.testing.assert_close(schedule.native(x, sigma), (1 - t) * x0 + t * n)
        torch.testing.assert_close(schedule.denoised(x, sigma, n - x0), x0)


@pytest.mark.parametrize(
    ("found", "overrides", "words"),
    [
        ({}, {}, "has no shift"),
        ({"use_dynamic_shifting": True}, {}, "has no base_shift"),
        ({"shift": 3.0, "use_karras_sigmas": True}, {}, "use_karras_sigmas=True"),
        ({"shift": 3.0}, {"mu": 1.0}, "give shift"),
        ({"shift": 3.0}, {"shfit": 1.0}, "did you mean 'shift'"),
        ({"shift": 3.0}, {"shift": -1.0}, "shift=-1.0"),
    ],
)
def test_bad_settings_are_named(
    found: dict[str, Any], overrides: dict[str, Any], words: str
) -> None:
    with pytest.raises(HarnessError, match=words):
        FlowSettings.read(found, overrides)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"spacing": "leading"}, "unknown spacing 'leading'"),
        ({"spacing": "karras"}, "needs sigma_max"),
        ({"rho": 5.0}, "belongs to spacing=karras"),
        ({"sigma_min": 2.0, "sigma_max": 1.0}, "smaller first"),
    ],
)
def test_impossible_ladders_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        _schedule().ladder(10, **arguments)


def test_dynamic_shift_is_for_one_size_unless_given() -> None:
    schedule = _schedule(1024, **DYNAMIC)
    schedule.check_tokens(1024)
    with pytest.raises(HarnessError, match=r"MODEL\(mu=1\.15\)"):
        schedule.check_tokens(4096)
    FlowSettings.read(DYNAMIC, {"mu": 1.15}).schedule(1024).check_tokens(4096)
    _schedule().check_tokens(4096)
