"""Ladders of other spacings, shifts and the user's own levels, against diffusers' and by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
)
from diffusers.schedulers.scheduling_utils import AysSchedules

from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.engine.batch import parts_of
from harness.engine.resolve import resolve
from harness.models.ladders import beta_grid, exponential_grid, grid_of_levels, rho_grid
from harness.models.load import find
from harness.models.pipelines.flow import FlowSettings
from tests.conftest import TINY_SDXL

BETAS: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


def _ladder(model: str, text: str, **overrides: Any) -> torch.Tensor:
    return parts_of(find(model).ladders(overrides), resolve(parse_call(text), {}))[0]


@pytest.mark.parametrize("grid", ["exponential", "beta"])
@pytest.mark.parametrize("steps", [1, 2, 7, 30])
def test_a_grid_of_levels_is_diffusers_own(grid: str, steps: int) -> None:
    scheduler = EulerDiscreteScheduler(**BETAS, **{f"use_{grid}_sigmas": True})
    scheduler.set_timesteps(steps)
    theirs = scheduler.sigmas[:-1].double()
    ours = _ladder("shapes", f"ddim(steps={steps}, spacing={grid})", set_alpha_to_one=True)
    assert ours[-1] == 0
    if steps > 1:  # of one level theirs is the lowest or the highest, by its spacing
        np.testing.assert_allclose(ours[:-1], theirs, rtol=2e-6)
    to_its_end = _ladder("shapes", f"ddim(steps={steps}, spacing={grid})")
    assert len(to_its_end) == steps + 1
    assert float(to_its_end[-1]) == pytest.approx(0.029167, rel=1e-4)


def test_polyexponential_is_k_diffusions() -> None:
    """exp(ramp^rho (log max - log min) + log min), ramp from 1 to 0."""
    ramp = torch.linspace(1, 0, 6, dtype=torch.float64) ** 2.5
    expected = torch.exp(ramp * (np.log(10) - np.log(0.1)) + np.log(0.1))
    torch.testing.assert_close(exponential_grid(6, 0.1, 10.0, 2.5), expected)
    ours = _ladder("gmm", "ddim(steps=6, spacing=polyexponential, rho=2.5, sigma_max=10)")
    torch.testing.assert_close(ours[:-1], exponential_grid(6, 0.002, 10.0, 2.5))
    even = _ladder("gmm", "ddim(steps=6, spacing=polyexponential)")
    assert torch.equal(even, _ladder("gmm", "ddim(steps=6, spacing=exponential)"))


def test_grids_by_name() -> None:
    assert torch.equal(grid_of_levels("karras", 5, 0.1, 10.0, 3.0), rho_grid(5, 0.1, 10.0, 3.0))
    assert torch.equal(grid_of_levels("beta", 5, 0.1, 10.0), beta_grid(5, 0.1, 10.0))
    for name in ("karras", "exponential", "polyexponential", "beta"):
        grid = grid_of_levels(name, 9, 0.1, 10.0)
        assert (grid[0], grid[-1]) == (10.0, 0.1)
        assert bool((grid.diff() < 0).all())


def _flow(**settings: Any) -> Any:
    return FlowSettings.read({"shift": 3.0, **settings}, {}).schedule(16)


@pytest.mark.parametrize("grid", ["exponential", "beta"])
def test_a_flows_grid_is_that_of_its_times(grid: str) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, **{f"use_{grid}_sigmas": True})
    scheduler.set_timesteps(8)
    ours = _flow().ladder(8, grid)
    np.testing.assert_allclose(ours / (1 + ours), scheduler.sigmas, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0])
def test_a_shift_is_that_of_a_checkpoint_with_it(shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(8)
    ours = _flow().ladder(8, shift=shift)
    assert torch.equal(ours, _flow(shift=shift).ladder(8))
    np.testing.assert_allclose(ours / (1 + ours), scheduler.sigmas, rtol=2e-6, atol=2e-6)
    trailing = _flow().ladder(4, "trailing", shift=shift)
    times = torch.linspace(1, 0, 5, dtype=torch.float64)
    expected = shift * times / (1 + (shift - 1) * times)
    torch.testing.assert_close(trailing / (1 + trailing), expected, atol=2e-6, rtol=0)


def test_a_shift_replaces_one_that_follows_the_size() -> None:
    dynamic = _flow(
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    scheduler.set_timesteps(6, mu=float(np.log(2.0)))
    ours = dynamic.ladder(6, shift=2.0)
    np.testing.assert_allclose(ours / (1 + ours), scheduler.sigmas, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(
    ("model", "table"),
    [("shapes", "StableDiffusionSigmas"), (str(TINY_SDXL), "StableDiffusionXLSigmas")],
)
def test_align_your_steps_is_the_published_table(model: str, table: str) -> None:
    """10 steps are the table; others lie log-linear between, from the model's ends."""
    ten = _ladder(model, "ddim(steps=10, spacing=ays)")
    np.testing.assert_allclose(ten[:-1], AysSchedules[table][:-1], rtol=1e-4)
    assert float(ten[-1]) == pytest.approx(0.029167, rel=1e-4)
    five = _ladder(model, "ddim(steps=5, spacing=ays)")
    torch.testing.assert_close(five, ten[::2])
    twenty = _ladder(model, "ddim(steps=20, spacing=ays)")
    torch.testing.assert_close(twenty[1::2], (twenty[:-1:2] * twenty[2::2]).sqrt())
    assert _ladder(model, "ddim(steps=10, spacing=ays)", set_alpha_to_one=True)[-1] == 0


@pytest.mark.parametrize("kind", [LCMScheduler, TCDScheduler])
@pytest.mark.parametrize("steps", [1, 2, 4, 7, 50])
def test_lcms_ladder_is_diffusers_own(kind: Any, steps: int) -> None:
    scheduler = kind(**BETAS)
    scheduler.set_timesteps(steps)
    ours = _ladder("shapes", f"lcm(steps={steps})")
    times = find("shapes").ladders({}).time_of(ours[:-1])  # type: ignore[attr-defined]
    assert times.round().long().tolist() == scheduler.timesteps.tolist()


def test_own_sigmas_are_the_ladder(tmp_path: Path) -> None:
    file = tmp_path / "sigmas.txt"
    file.write_text("14.6, 6.4\n2 0.5, 0.0291675\n")
    call = resolve(parse_call(f"heun(sigmas={file})"), {"steps": 50, "guidance": 3})
    assert call.params["sigmas"] == [14.6, 6.4, 2.0, 0.5, 0.0291675]
    assert call.params["steps"] == 4  # not the model's default
    assert resolve(parse_call(str(call)), {}) == call
    assert call == resolve(parse_call("heun(sigmas=[14.6,6.4,2,0.5,0.0291675])"), {"guidance": 3})
    ladder = parts_of(find("shapes").ladders({}), call)[0]
    assert ladder.tolist() == call.params["sigmas"]
    (tmp_path / "sigmas.json").write_text("[9.5, 1, 0]")
    assert _ladder("gmm", f"ddim(sigmas={tmp_path / 'sigmas.json'})").tolist() == [9.5, 1, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ddim(steps=3, spacing=ays)", "ays is a table of Stable Diffusion .*knows karras"),
        ("ddim(steps=3, spacing=expnential)", "did you mean 'exponential'"),
        ("ddim(steps=3, spacing=exponential, rho=2)", "rho belongs to"),
        ("ddim(steps=3, shift=2)", "for the times of a flow"),
        ("ddim(sigmas=[5, 1])", "sigmas end at 1, where noise is left"),
        ("ddim(sigmas=[5, 7, 0])", "strictly decrease"),
        ("ddim(sigmas=[5])", "two levels or more"),
        ("ddim(sigmas=[100, 5, 0])", "within the model's range"),
        ("ddim(sigmas=[5, -1])", "sigmas"),
        ("ddim(sigmas=[a, b])", "sigmas"),
        ("ddim(sigmas=none.txt)", "cannot read sigmas='none.txt'"),
        ("ddim(steps=3, sigmas=[5, 1, 0])", "of 2 steps, not of 3"),
        ("ddim(sigmas=[5, 1, 0], spacing=karras)", "spacing contradicts them"),
    ],
)
def test_a_mistake_is_named(text: str, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        _ladder("gmm", text)


def test_ranges_and_tables_contradict_each_other() -> None:
    with pytest.raises(HarnessError, match="ays takes no sigma_min"):
        _ladder("shapes", "ddim(steps=4, spacing=ays, sigma_max=5)")
    with pytest.raises(HarnessError, match=r"begins at sigma 14.615.*highest level is 65\.9"):
        _ladder("shapes", "ddim(steps=4, spacing=ays)", beta_end=0.02)
    with pytest.raises(HarnessError, match=r"end them at 0, or at this model's own last level"):
        _ladder("shapes", "ddim(sigmas=[14, 1, 0.5])")


def test_a_file_that_holds_no_numbers_is_named(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("1 two 3")
    with pytest.raises(HarnessError, match="could not convert string to float: 'two'"):
        _ladder("gmm", f"ddim(sigmas={tmp_path / 'words.txt'})")
