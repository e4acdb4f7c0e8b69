from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

from harness.core.errors import HarnessError
from harness.models.ladders import rho_grid
from harness.models.load import find, load
from harness.models.pipelines.noise_schedule import DiscreteSchedule, SchedulerSettings
from tests.conftest import TINY_SDXL

STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def _schedule(**overrides: object) -> DiscreteSchedule:
    return SchedulerSettings.read(STABLE_DIFFUSION, overrides).schedule()


def _times(schedule: DiscreteSchedule, sigmas: torch.Tensor) -> list[float]:
    return schedule.time_of(sigmas).tolist()


def test_the_table_is_stable_diffusions() -> None:
    schedule = _schedule()
    assert schedule.sigma_min == pytest.approx(0.02917, abs=1e-5)
    assert schedule.sigma_max == pytest.approx(14.6146, abs=1e-3)
    assert schedule.last == schedule.sigma_min


def test_leading_is_the_ladder_of_the_published_scripts() -> None:
    schedule = _schedule()
    sigmas = schedule.ladder(10, "leading")
    assert _times(schedule, sigmas) == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1, 0]
    assert _times(schedule, schedule.ladder(50))[:2] == [981, 961]
    assert _times(schedule, schedule.ladder(7))[:2] == [6 * 142 + 1, 5 * 142 + 1]


def test_trailing_starts_at_the_last_timestep() -> None:
    schedule = _schedule()
    assert _times(schedule, schedule.ladder(10, "trailing")) == [*range(999, 0, -100), 0]


def test_trailing_is_diffusers_for_every_number_of_steps() -> None:
    schedule = _schedule()
    scheduler = DDIMScheduler(timestep_spacing="trailing")
    for steps in range(1, 201):
        scheduler.set_timesteps(steps)
        theirs = scheduler.timesteps.tolist()
        # for 61 steps and some others its range has one timestep too many, below the table
        assert theirs[steps:] in ([], [-1])
        ours = _times(schedule, schedule.ladder(steps, "trailing"))
        assert ours[:-1] == theirs[:steps], steps


def test_trailing_steps_that_end_in_a_half_go_to_the_even_place() -> None:
    schedule = _schedule()
    times = _times(schedule, schedule.ladder(16, "trailing"))
    assert times[:6] == [999, 937, 874, 811, 749, 687]


def test_linspace_spends_no_step_on_a_level_that_is_already_reached() -> None:
    schedule = _schedule()
    assert _times(schedule, schedule.ladder(3, "linspace")) == [999, 666, 333, 0]
    ends_at_zero = _schedule(set_alpha_to_one=True)
    assert ends_at_zero.ladder(3, "linspace")[-1] == 0
    assert _times(ends_at_zero, ends_at_zero.ladder(3, "linspace")[:-1]) == [999, 500, 0]


def test_linspace_is_that_of_diffusers_multistep_solvers_but_for_one_tie() -> None:
    """Both halves are said in docs/conventions.md."""
    schedule = _schedule()
    scheduler = DPMSolverMultistepScheduler(timestep_spacing="linspace")
    differences = {}
    for steps in range(1, 201):
        scheduler.set_timesteps(steps)
        ours = _times(schedule, schedule.ladder(steps, "linspace"))[:-1]
        pairs = zip(ours, scheduler.timesteps.tolist(), strict=True)
        if different := [pair for pair in pairs if pair[0] != pair[1]]:
            differences[steps] = different
    assert differences == {102: [(832, 833)], 198: [(832, 833)]}


def test_karras_of_the_user_interfaces_ends_at_zero() -> None:
    """k-diffusion's ladder, which diffusers has too: N levels, then 0."""
    scheduler = EulerDiscreteScheduler(**STABLE_DIFFUSION, use_karras_sigmas=True)
    scheduler.set_timesteps(5)
    theirs = scheduler.sigmas.double()
    found = _schedule(set_alpha_to_one=True).ladder(5, "karras")
    torch.testing.assert_close(found, theirs, rtol=1e-5, atol=0)
    ours = _schedule().ladder(5, "karras")
    assert ours[0] == pytest.approx(float(theirs[0]), rel=1e-5)
    assert float(ours[-1]) == pytest.approx(0.02917, abs=1e-5)
    assert bool((ours[1:] > theirs[1:] * 1.2).all())


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace", "karras"])
@pytest.mark.parametrize("steps", [1, 2, 3, 20, 49])
def test_a_ladder_has_so_many_steps_and_strictly_decreases(spacing: str, steps: int) -> None:
    schedule = _schedule()
    sigmas = schedule.ladder(steps, spacing)
    assert sigmas.shape == (steps + 1,)
    assert sigmas.dtype == torch.float64
    assert bool((sigmas[1:] < sigmas[:-1]).all())
    assert sigmas[-1] == schedule.last


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace", "karras"])
def test_a_ladder_starts_where_it_is_told(spacing: str) -> None:
    schedule = _schedule()
    top = float(schedule.ladder(10, "leading")[0])
    sigmas = schedule.ladder(24, spacing, sigma_max=top)
    assert float(sigmas[0]) == pytest.approx(top, rel=1e-12)
    assert len(sigmas) == 25


def test_the_time_of_a_sigma_is_exact_on_the_table_and_between_its_neighbours() -> None:
    schedule = _schedule()
    assert _times(schedule, schedule.sigmas) == list(range(1000))
    middle = (schedule.sigmas[17] * schedule.sigmas[18]).sqrt()
    assert float(schedule.time_of(middle)) == pytest.approx(17.5, abs=1e-9)


def test_the_rho_grid_is_edms_equation_5() -> None:
    grid = rho_grid(4, 0.002, 80.0)
    expected = [(80 ** (1 / 7) + i / 3 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(4)]
    torch.testing.assert_close(grid, torch.tensor(expected, dtype=torch.float64))
    gmm = find("gmm").ladders({})
    assert gmm.ladder(18)[[0, -2, -1]].tolist() == [80.0, 0.002, 0.0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": 10, "spacing": "leadin"}, "did you mean 'leading'"),
        ({"steps": 1000}, "knows 1000 timesteps"),
        ({"steps": 10, "sigma_max": 80.0}, "within the model's range"),
        ({"steps": 10, "sigma_min": 2.0, "sigma_max": 1.0}, "smaller first"),
        ({"steps": 10, "rho": 5.0}, "belongs to spacing=karras"),
        ({"steps": 500, "sigma_max": 0.2}, "repeats a level"),
    ],
)
def test_impossible_ladders_are_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        _schedule().ladder(**arguments)  # type: ignore[arg-type]


def test_scheduler_settings_come_from_the_checkpoint_then_the_family() -> None:
    found = {**STABLE_DIFFUSION, "prediction_type": "v_prediction", "clip_sample": True}
    settings = SchedulerSettings.read(found, {})
    assert settings.prediction_type == "v_prediction"
    assert (settings.steps_offset, settings.set_alpha_to_one) == (1, False)
    assert SchedulerSettings.read(found, {"steps_offset": 0}).steps_offset == 0


@pytest.mark.parametrize(
    ("found", "overrides", "words"),
    [
        (STABLE_DIFFUSION, {"prediction_typ": "epsilon"}, "did you mean 'prediction_type'"),
        (STABLE_DIFFUSION, {"prediction_type": "v_predicton"}, "'v_prediction'"),
        (STABLE_DIFFUSION, {"beta_start": "abc"}, "beta_start='abc'"),
        ({**STABLE_DIFFUSION, "beta_schedule": "odd"}, {}, "beta_schedule='odd'"),
        ({}, {}, "no beta_start"),
    ],
)
def test_bad_scheduler_settings_are_named(
    found: dict[str, object], overrides: dict[str, object], words: str
) -> None:
    with pytest.raises(HarnessError, match=words):
        SchedulerSettings.read(found, overrides)


def test_an_offset_beyond_the_table_is_refused() -> None:
    with pytest.raises(HarnessError, match="steps_offset 51"):
        _schedule(steps_offset=51).ladder(20)


def test_the_planned_ladder_is_the_loaded_models(tmp_path: Path) -> None:
    """A scheduler file with keys left out: its class's defaults must not come in."""
    folder = tmp_path / "model"
    shutil.copytree(TINY_SDXL, folder)
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    for key in ("timestep_spacing", "steps_offset", "set_alpha_to_one"):
        del config[key]
    path.write_text(json.dumps(config))
    planned = find(str(folder)).ladders({}).ladder(10)
    assert torch.equal(planned, load(str(folder)).ladder(10))
    assert torch.equal(planned, _schedule().ladder(10, "leading"))
