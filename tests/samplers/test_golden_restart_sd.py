"""Restart on Stable Diffusion, and its baselines, on recorded numbers of the official code."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness.core.call import Call
from harness.engine.batch import run_sampler
from harness.engine.noise import RecordedNoise
from harness.engine.resolve import resolve
from harness.models.pipelines.noise_schedule import SchedulerSettings
from harness.models.pipelines.stable_diffusion import StableDiffusion

FOLDER = Path(__file__).parent.parent / "golden" / "restart"
CASES: dict[str, dict[str, Any]] = json.loads((FOLDER / "cases_sd.json").read_text())
NETS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
pytestmark = pytest.mark.golden


class ToyUnet(torch.nn.Module):
    """The recorded cases' closed-form network; see tests/golden/README.md."""

    device, dtype = torch.device("cpu"), torch.float32
    config = SimpleNamespace(addition_embed_type=None, in_channels=4)

    def forward(
        self, z: torch.Tensor, t: torch.Tensor, encoder_hidden_states: torch.Tensor, **_: Any
    ) -> tuple[torch.Tensor]:
        t = t.reshape(-1, 1, 1, 1)
        bias = 2 * encoder_hidden_states.mean((1, 2)).reshape(-1, 1, 1, 1)
        return ((z * (0.5 + 0.4 * (t / 200).cos())).tanh() + 0.1 * (t / 50).sin() + bias,)


def _unet() -> torch.nn.Module:
    from diffusers import UNet2DConditionModel
    from safetensors.torch import load_file

    unet = UNet2DConditionModel(**json.loads((FOLDER / "sd" / "unet_config.json").read_text()))
    unet.load_state_dict(load_file(FOLDER / "sd" / "unet.safetensors"))
    return unet


def model_of(net: str) -> StableDiffusion:
    unet = ToyUnet() if net == "toy" else _unet()
    where = {"vae_scale_factor": 8, "_execution_device": "cpu"}
    pipeline = SimpleNamespace(unet=unet, vae=torch.nn.Identity(), **where)
    return StableDiffusion(net, pipeline, SchedulerSettings.read(NETS, {}).schedule())


def our_call(case: dict[str, Any]) -> Call:
    published = case["restart"] and case["w"] in (2, 3, 5, 8)  # else theirs does not restart
    solver = "heun" if case["second_order"] else "euler"
    params: dict[str, Any] = {"steps": case["steps"], "guidance": float(case["w"])}
    if case["use_sigma"]:  # theirs counts levels, ours steps
        params |= {"steps": case["steps"] - 1, "spacing": "karras_rounded", "rho": 5.0}
    if published:
        return resolve(Call("restart", params | {"solver": solver}), {})
    return resolve(Call("heun" if case["second_order"] else "ddim", params), {})


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name]["scheduler"] == "DDIM"])
def test_the_official_latents_come_out(name: str, certify: Any) -> None:
    case, data = CASES[name], np.load(FOLDER / "io_sd.npz")
    model, call = model_of(name.partition("@")[2]), our_call(case)
    told: list[float] = []
    network = model.network

    def listening(x: Any, sigma: Any, time: Any, condition: Any) -> torch.Tensor:
        told.append(round(float(model.time_of(time))))
        return network(x, sigma, time, condition)

    model.network = listening  # type: ignore[method-assign]
    draws = torch.from_numpy(data[f"{name}/draws"])
    noise = RecordedNoise(draws[0], draws[1:], "cpu")
    text, negative = (
        {"text": torch.from_numpy(data[key])} for key in ("prompt_embeds", "negative_prompt_embeds")
    )
    batch = run_sampler(model, call, text, negative, noise)
    noise.close()
    expected = data[f"{name}/out"]
    certify(call.name, batch.native, expected, atol=1e-4 + 1e-5 * np.abs(expected).max())
    assert told == data[f"{name}/t_unet"].tolist()
    assert set(batch.evaluations["main", "cond"]) == {case["nfe"]}
    assert batch.evaluations["main", "uncond"] == batch.evaluations["main", "cond"]


def test_the_ladder_is_the_official_one() -> None:
    data = np.load(FOLDER / "io_sd.npz")
    schedule = model_of("toy").schedule
    abar = data["alphas_cumprod"].astype(np.float64)
    table = np.sqrt((1 - abar) / abar)
    for name, case in CASES.items():
        if case["scheduler"] == "DDIM":
            params = our_call(case).params
            ladder = schedule.ladder(params["steps"], params.get("spacing"), rho=params.get("rho"))
            expected = table[data[f"{name}/timesteps"]]
            # tables in float32, multiplied up with other last bits on other processors: the largest
            # difference seen is 1.3e-7
            np.testing.assert_allclose(ladder.numpy(), expected, rtol=1e-6)
