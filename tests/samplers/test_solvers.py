"""Solvers and ancestral samplers against diffusers' schedulers, on the same sigmas and noise."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    UniPCMultistepScheduler,
)

from harness.samplers.base import SAMPLERS

pytestmark = pytest.mark.golden

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
COMMON = {**BETAS, "prediction_type": "sample"}
SHAPE = (2, 3, 4, 4)


def _estimate(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Some smooth estimate of x0."""
    return 0.6 * torch.tanh(x / (1 + sigma)) + 0.1 * torch.sin(3 * torch.log1p(sigma))


def _denoise(x: torch.Tensor, sigma: torch.Tensor, **_: Any) -> torch.Tensor:
    return _estimate(x, sigma)


def _draws(seed: int) -> Callable[..., torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda shape=None: torch.randn(SHAPE, generator=generator, dtype=torch.float64)


def _theirs(scheduler: Any, z: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """diffusers' loop over a variance-preserving latent."""
    generator = torch.Generator().manual_seed(1)
    extra = {"generator": generator} if "DDPM" in type(scheduler).__name__ else {}
    for s, t in zip(sigmas, scheduler.timesteps, strict=False):
        z = scheduler.step(_estimate(z * (1 + s**2).sqrt(), s), t, z, **extra).prev_sample
    return z


MULTISTEP = [
    (name, final, steps)
    for name in ("unipc", "dpmpp_2m")
    for final in ("zero", "sigma_min")
    for steps in (1, 2, 3, 6, 20)
    # Below 15 steps diffusers' DPM++ ends with a first-order step, the paper's Algorithm 2 does not
    if name == "unipc" or final == "zero" or steps >= 15
]


@pytest.mark.parametrize(("name", "final", "steps"), MULTISTEP)
def test_multistep_solvers_are_diffusers_own(
    certify: Any, name: str, final: str, steps: int
) -> None:
    cls = UniPCMultistepScheduler if name == "unipc" else DPMSolverMultistepScheduler
    scheduler = cls(**COMMON, final_sigmas_type=final, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    scheduler.sigmas = sigmas = scheduler.sigmas.double()
    z = _draws(0)()
    x = SAMPLERS.get(name).run(_denoise, z * (1 + sigmas[0] ** 2).sqrt(), sigmas, _draws(1))
    # DPMSolverMultistepScheduler takes its steps in float32
    atol = 1e-13 if name == "unipc" else 1e-6
    certify(name, x / (1 + sigmas[-1] ** 2).sqrt(), _theirs(scheduler, z, sigmas), atol=atol)


@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_euler_ancestral_is_diffusers_own(certify: Any, steps: int) -> None:
    scheduler = EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    scheduler.sigmas = sigmas = scheduler.sigmas.double()
    x = start = _draws(0)() * sigmas[0]
    generator = torch.Generator().manual_seed(1)
    for s, t in zip(sigmas, scheduler.timesteps, strict=False):
        scheduler.scale_model_input(x, t)
        eps = (x - _estimate(x, s)) / s
        x = scheduler.step(eps, t, x, generator=generator).prev_sample
    ours = SAMPLERS.get("euler_ancestral").run(_denoise, start, sigmas, _draws(1))
    certify("euler_ancestral", ours, x, atol=2e-6)  # theirs steps in float32


@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_ddpm_is_diffusers_own_with_the_smaller_variance(certify: Any, steps: int) -> None:
    scheduler = DDPMScheduler(**COMMON, variance_type="fixed_small", clip_sample=False)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.one = scheduler.one.double()
    scheduler.set_timesteps(steps)
    abar = scheduler.alphas_cumprod[scheduler.timesteps]
    sigmas = torch.cat([((1 - abar) / abar).sqrt(), torch.zeros(1).double()])
    z = _draws(0)()
    ours = SAMPLERS.get("ddpm").run(_denoise, z / abar[0].sqrt(), sigmas, _draws(1))
    certify("ddpm", ours, _theirs(scheduler, z, sigmas), atol=1e-10)


def test_eta_and_s_noise_of_euler_ancestral() -> None:
    sigmas = torch.tensor([4.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    x = _draws(0)() * 4

    def run(name: str, **parameters: float) -> torch.Tensor:
        return SAMPLERS.get(name).run(_denoise, x, sigmas, _draws(1), **parameters)

    for eta in (0.0, 0.4, 1.0):
        assert torch.equal(run("euler_ancestral", eta=eta), run("ddim", eta=eta))
    assert torch.equal(run("euler_ancestral"), run("ddpm"))
    assert not torch.equal(run("euler_ancestral", s_noise=1.1), run("euler_ancestral"))
    # more than the next level holds: a step down to 0, then the whole level in fresh noise
    draw, expected = _draws(1), x
    for s, t in pairwise(sigmas):
        expected = _estimate(expected, s) + t * draw()
    torch.testing.assert_close(run("euler_ancestral", eta=50.0), expected)
