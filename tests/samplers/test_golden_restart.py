"""EDM's and Restart's samplers on recorded numbers of the official code, closed-form denoisers."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.engine.denoiser import Denoiser
from harness.engine.needs import apply
from harness.engine.noise import RecordedNoise
from harness.engine.policies.classifier_free import ClassifierFree
from harness.engine.resolve import resolve
from harness.models.base import Condition
from harness.models.ladders import close_ladder, rho_grid
from harness.samplers.base import SAMPLERS
from harness.samplers.restart_intervals import restarts_in_sigma, snap
from tests.conftest import Certify

FOLDER = Path(__file__).parent.parent / "golden" / "restart"
CASES: dict[str, dict[str, Any]] = json.loads((FOLDER / "cases.json").read_text())
RANGES = {"toy_vp": (0.0009765625, 152.16697692871094), "toy_ve": (0.02, 100.0)}
pytestmark = pytest.mark.golden


class Toy:
    """The recorded cases' closed-form denoiser; see tests/golden/README.md."""

    name = "toy"

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        c = 0.25 / (sigma**2 + 0.25)
        out = c * x + (1 - c) * 0.4 * torch.tanh(x / (1 + sigma)) + 0.1 * (3 * sigma.log1p()).sin()
        return out + 0.2 * condition["bias"].reshape(-1, 1, 1, 1)

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        return output


def our_call(case: dict[str, Any]) -> Call:
    given = case["kwargs"]
    params: dict[str, Any] = {"steps": given.get("num_steps", 18)}
    params |= {"s_churn": given.get("S_churn", 0)}
    low, high = given.get("S_min", 0), given.get("S_max", inf)
    if case["sampler"] == "edm_sampler":
        params |= {"s_min": low, "s_noise": given.get("S_noise", 1)}
        params |= {} if high == inf else {"s_max": high}
        return resolve(Call("edm", params), {})
    params |= {"s_noise": given.get("S_noise", 0)}
    intervals = list(json.loads(given.get("restart_info", "{}")).values())
    if not intervals:  # then it is EDM's sampler
        return resolve(Call("edm", params), {})
    params |= {"intervals": intervals, "inner_churn": given.get("restart_gamma", 0)}
    params |= {"inner_rho": given.get("rho", 7)}
    params |= {} if high == inf else {"churn_range": [low, high]}
    return resolve(Call("restart", params), {})


REFUSED = ("collide10@toy_edm", "n_restart_1@toy_edm")


@pytest.mark.parametrize("name", [name for name in CASES if name not in REFUSED])
def test_the_official_samples_come_out(name: str, certify: Certify) -> None:
    case = CASES[name]
    data = np.load(FOLDER / "io.npz")
    latents, noise = (torch.from_numpy(data[f"{name}/{key}"]) for key in ("latents", "noise"))
    call, given = our_call(case), case["kwargs"]
    low, high = RANGES.get(case["net"], (0.0, inf))
    low, high = max(given.get("sigma_min", 0.002), low), min(given.get("sigma_max", 80.0), high)
    rho = given.get("rho", 7)
    sigmas = close_ladder(lambda n: rho_grid(n, low, high, rho), call.params["steps"], low, 0.0)
    bias = torch.zeros(len(latents), dtype=torch.float64)
    if f"{name}/labels" in data.files:
        labels = torch.from_numpy(data[f"{name}/labels"]).double()
        bias = labels @ torch.linspace(-1, 1, labels.shape[1], dtype=torch.float64)
    denoise = Denoiser(Toy(), {"bias": bias}, None, ClassifierFree())
    recorded = RecordedNoise(latents, noise, "cpu")
    own = {key: value for key, value in call.params.items() if key != "steps"}
    x = recorded().double() * sigmas[0]
    out = apply(SAMPLERS.get(call.name), denoise, (x, sigmas, recorded), own)
    recorded.close()
    # float64 throughout, but the official inner grid of Restart is float32
    atol = 1e-10 if call.name == "edm" else 1e-6
    expected = data[f"{name}/out"]
    certify(call.name, out, expected, atol=atol * max(1, np.abs(expected).max()))
    assert set(denoise.evaluations["main", "cond"].tolist()) == {case["nfe"]}


def test_intervals_that_collide_are_refused() -> None:
    """The official code keeps the later one and says nothing."""
    sigmas = close_ladder(lambda n: rho_grid(n, 0.002, 80), 10, 0.002, 0.0)
    with pytest.raises(HarnessError, match="collides with another"):
        snap(sigmas, our_call(CASES["collide10@toy_edm"]).params["intervals"])


def test_a_grid_of_one_point_is_refused() -> None:
    """The official code gives NaN."""
    with pytest.raises(HarnessError, match="from 2 on"):
        our_call(CASES["n_restart_1@toy_edm"])


@pytest.mark.parametrize(
    ("interval", "words"),
    [([3, 1, 1.0, 90.0], "above the ladder's first"), ([3, 1, 0.3, 0.29], "not below t_max")],
)
def test_impossible_intervals_are_named(interval: list[float], words: str) -> None:
    sigmas = close_ladder(lambda n: rho_grid(n, 0.002, 80), 18, 0.002, 0.0)
    with pytest.raises(HarnessError, match=words):
        restarts_in_sigma(sigmas, [interval], 7.0)
