"""The guidance interval, EDM2 and autoguidance on recorded numbers of the official code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from harness.core.call import Call
from harness.engine.branches import Conditioned
from harness.engine.denoiser import Denoiser
from harness.engine.needs import apply
from harness.engine.noise import NoiseStreams, RecordedNoise
from harness.engine.policies.classifier_free import ClassifierFree, make_guidance
from harness.engine.resolve import resolve, split_parameters
from harness.models.base import Condition
from harness.models.edm.build import build, load_weights
from harness.models.ladders import close_ladder, rho_grid
from harness.samplers.base import SAMPLERS
from tests.conftest import Certify

FOLDER = Path(__file__).parent.parent / "golden" / "edm2"
RECORDED = json.loads((FOLDER / "cases.json").read_text())
CASES: dict[str, dict[str, Any]] = {
    case["name"]: case for case in RECORDED["cases"] if case["name"].startswith("io_")
}
INTERVALS = list(RECORDED["intervals"].items())
pytestmark = pytest.mark.golden


class Analytic:
    """The closed-form denoiser of the `ana` cases; see tests/golden/README.md."""

    PARAMETERS = {  # noqa: RUF012
        "cond": (0.6, 0.1, 0.15),
        "uncond": (0.45, 0.5, 0.0),
        "bad": (0.5, 0.25, 0.12),
    }

    def __init__(self, name: str) -> None:
        self.name, (self.m, self.s, self.shift) = name, self.PARAMETERS[name]

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        c = (self.shift * (condition["class"].float() - 4.5)).double().reshape(-1, 1, 1, 1)
        c = c if self.shift else torch.zeros(1)
        u, variance = x - c, self.s**2 + sigma**2
        lean = torch.tanh(self.m * u / variance)
        return c + (self.s**2 * u + sigma**2 * self.m * lean) / variance

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        return output


class Trained(Analytic):
    """A recorded network."""

    def __init__(self, name: str) -> None:
        self.name, self.net = name, trained(name)

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        return self.net(x, sigma, nn.functional.one_hot(condition["class"], 10)[:, :10])


def trained(name: str) -> nn.Module:
    described = json.loads((FOLDER / "nets" / f"{name}.json").read_text())
    state = load_file(FOLDER / "nets" / f"{name}.safetensors")
    return load_weights(build(described["class_name"], described["init_kwargs"]), state, name)


def long(case: dict[str, Any]) -> bool:
    """Takes seconds: both networks at every evaluation of 32 steps."""
    return case["family"] == "net" and case.get("n_uncond", case.get("n_gnet")) == 63


def our_call(case: dict[str, Any]) -> Call:
    given = case["kwargs"]
    params: dict[str, Any] = {"steps": given.get("num_steps", 32)}
    params["guidance"] = float(given.get("G", given.get("guidance", 1)))
    if case["name"] == "io_gi_net_empty_g2.0":  # an interval behind the last step; ours refuses it
        params["guidance"] = 1.0
    elif "guidance_interval" in given:
        params["interval_steps"] = given["guidance_interval"]
    for theirs in ("S_churn", "S_min", "S_max", "S_noise"):
        if theirs in given:
            params[theirs.lower()] = float(given[theirs])
    if case["source"].startswith("edm2"):
        params["draw"] = "churned"
    return resolve(Call("edm", params), {})


@torch.inference_mode()
def run(case: dict[str, Any], data: Any, **changes: Any) -> tuple[torch.Tensor, Denoiser]:
    """Ours: the sample [B, C, h, w] and the denoiser, which has counted."""
    call = our_call(case)
    call = Call(call.name, {**call.params, **changes})
    ladder, policy, own = split_parameters(call)
    sigmas = close_ladder(lambda n: rho_grid(n, 0.002, 80.0), ladder["steps"], 0.002, 0.0)
    condition = {"class": torch.from_numpy(data["labels"]).argmax(1)}
    kind = Trained if case["family"] == "net" else Analytic
    guide = Conditioned(kind(case["gnet"]), condition) if case["gnet"] else None
    guidance = make_guidance(sigmas, **policy)
    denoise = Denoiser(kind("cond"), condition, None, guidance, guide=guide)
    draws = torch.from_numpy(data["noises"]) if "noises" in data else None
    noise = RecordedNoise(torch.from_numpy(data["latents"]), draws, "cpu")
    x = noise().double() * sigmas[0]
    out = apply(SAMPLERS.get(call.name), denoise, (x, sigmas, noise), own)
    noise.close()
    return out, denoise


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if long(case) else ())
        for name, case in CASES.items()
    ],
)
def test_the_official_samples_come_out(name: str, certify: Certify) -> None:
    case, data = CASES[name], np.load(FOLDER / f"{name}.npz")
    ours, denoise = run(case, data)
    double = case["out_dtype"] == "torch.float64"
    atol = (1e-10 if double else 2e-6) if case["family"] == "ana" else 1e-4
    certify("edm", ours, data["final"], atol=atol)
    assert set(denoise.evaluations["main", "cond"].tolist()) == {case["n_cond"]}
    if case["gnet"]:
        theirs = case.get("n_uncond", case.get("n_gnet"))
        assert set(denoise.evaluations["guide", "cond"].tolist()) == {theirs}


@pytest.mark.parametrize(("name", "interval"), INTERVALS, ids=[name for name, _ in INTERVALS])
def test_printed_bounds_select_the_official_steps(name: str, interval: dict[str, Any]) -> None:
    """The papers print two digits; as thresholds these would select other steps."""
    printed = [float(bound) for bound in re.findall(r"[\d.]+", interval["paper"])[:2]]
    sigmas = close_ladder(lambda n: rho_grid(n, 0.002, 80.0), 32, 0.002, 0.0)
    first, last = interval["indices"]
    exact = interval["half_open_interval"]
    for policy in ({"interval": printed}, {"interval": exact}, {"interval_steps": [first, last]}):
        guidance = make_guidance(sigmas, **policy)
        assert steps_of(guidance, sigmas) == list(range(first, last + 1))


def test_sdxl_bounds_select_half_of_the_steps() -> None:
    """(0.28, 5.42] on 32 steps from 14.61 to 0.03 with rho 3."""
    sigmas = close_ladder(lambda n: rho_grid(n, 0.03, 14.61, 3.0), 32, 0.03, 0.0)
    np.testing.assert_allclose(sigmas[:-1], RECORDED["sdxl"]["t"], atol=1e-12, rtol=0)
    guidance = make_guidance(sigmas, interval=[0.28, 5.42])
    assert steps_of(guidance, sigmas) == list(range(10, 26))


@pytest.mark.parametrize("steps", RECORDED["other_step_counts"])
def test_exact_bounds_carry_over_to_other_step_counts(steps: str) -> None:
    """A bound that is near no level is a threshold."""
    sigmas = close_ladder(lambda n: rho_grid(n, 0.002, 80.0), int(steps), 0.002, 0.0)
    for bounds, theirs in RECORDED["other_step_counts"][steps].items():
        low, high = (float(bound) for bound in bounds.strip("()").split(","))
        assert steps_of(make_guidance(sigmas, interval=[low, high]), sigmas) == theirs


def steps_of(guidance: ClassifierFree, sigmas: torch.Tensor) -> list[int]:
    """The indices of the steps at which a weight of 2 is applied."""
    two = torch.full((1,), 2.0)
    return [i for i, s in enumerate(sigmas[:-1]) if float(guidance.scale(two, float(s))) == 2]


def test_both_evaluations_of_a_step_are_decided_at_its_start() -> None:
    case, data = CASES["io_gi_ana_n8_int3_5_g2.0"], np.load(FOLDER / "io_gi_ana_n8_int3_5_g2.0.npz")
    _, denoise = run(case, data)
    assert set(denoise.evaluations["guide", "cond"].tolist()) == {6}
    assert case["guided_eval_sigmas"][-1] < float(
        close_ladder(lambda n: rho_grid(n, 0.002, 80.0), 8, 0.002, 0.0)[5]
    )


def test_a_guide_is_not_evaluated_at_weight_one() -> None:
    """The official code of the interval evaluates it and throws the result away."""
    case, data = CASES["io_gi_ana_cfg1.2"], np.load(FOLDER / "io_gi_ana_none.npz")
    ours, denoise = run(case, data, guidance=1.0)
    assert set(denoise.evaluations["guide", "cond"].tolist()) == {0}
    np.testing.assert_allclose(ours.numpy(), data["final"], atol=1e-6, rtol=0)


def test_classes_are_drawn_as_the_official_code_does() -> None:
    """After the first noise, from the picture's own stream."""
    for about, theirs in json.loads((FOLDER / "label_draws.json").read_text()).items():
        shape = [int(n) for n in re.search(r"latents ([\dx]+)", about)[1].split("x")]
        classes = int(re.search(r"(\d+) classes", about)[1])
        noise = NoiseStreams(range(len(theirs)), shape, dtype=torch.float32)
        noise()
        assert noise.integers(classes).tolist() == theirs
