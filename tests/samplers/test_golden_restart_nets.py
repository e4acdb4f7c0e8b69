"""EDM's and Restart's samplers on networks: recorded samples of the official code.

`toy_FAMILY` is the closed-form denoiser, with the levels and the jump of the network `samp_FAMILY`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from harness.cli import main
from harness.engine.batch import run_sampler
from harness.engine.denoiser import Denoiser
from harness.engine.needs import apply
from harness.engine.noise import RecordedNoise
from harness.engine.policies.classifier_free import ClassifierFree
from harness.models.load import load
from harness.samplers.base import SAMPLERS
from tests.conftest import Certify
from tests.samplers.test_golden_restart import Toy, our_call

FOLDER = Path(__file__).parent.parent / "golden" / "restart"
CASES: dict[str, dict[str, Any]] = json.loads((FOLDER / "cases_nets.json").read_text())
pytestmark = pytest.mark.golden


def recorded(name: str) -> dict[str, torch.Tensor]:
    """The arrays of a case."""
    with np.load(FOLDER / "io_nets.npz") as data:
        keys = [key for key in data.files if key.startswith(f"{name}/")]
        return {key.removeprefix(f"{name}/"): torch.from_numpy(data[key]) for key in keys}


def draws(case: dict[str, Any], data: dict[str, torch.Tensor]) -> Iterator[torch.Tensor]:
    """Draws in the order in which our sampler asks for them: the jump's among the steps'."""
    steps = iter(data["noise"])
    if "global0" not in data:
        yield from steps
        return
    for _ in range(13):  # down to the ladder's nearest level to t_min, 0.1395
        yield next(steps)
    for jump in (0, 3):  # the third of each is a random sign, always the same
        yield data[f"global{jump}"]
        yield data[f"global{jump + 1}"]
        yield from (next(steps), next(steps))
    yield from steps


@pytest.mark.parametrize("name", CASES)
def test_the_official_samples_come_out(name: str, certify: Certify) -> None:
    case, data = CASES[name], recorded(name)
    kind, _, family = case["net"].partition("_")
    net: Any = load(str(FOLDER / "nets" / f"samp_{family}.safetensors"))
    call, latents = our_call(case), data["latents"]
    sigmas = net.ladder(call.params["steps"])
    if kind == "toy":
        condition = {"bias": torch.zeros(len(latents), dtype=torch.float64)}
    else:
        classes = data["labels"].argmax(1) if "labels" in data else torch.full((3,), -1)
        condition = {"class": classes}
    denoise = Denoiser(Toy() if kind == "toy" else net, condition, None, ClassifierFree())
    noise = RecordedNoise(latents, list(draws(case, data)), "cpu")
    own = {key: value for key, value in call.params.items() if key != "steps"}
    # those of PFGM++ are first states already
    x = noise().double() * (1.0 if "global0" in data else sigmas[0])
    with torch.inference_mode():
        out = apply(SAMPLERS.get(call.name), denoise, (x, sigmas, noise), own, net)
    noise.close()
    expected = data["out"]
    # networks are float32, whose sums another machine takes in another order; float32 is the
    # official inner grid of Restart, too
    atol = 1e-5 if kind != "toy" else 1e-10 if call.name == "edm" else 2e-6
    certify(call.name, out, expected, atol=atol * max(1.0, float(expected.abs().max())))
    assert set(denoise.evaluations["main", "cond"].tolist()) == {case["nfe"]}


def test_restart_between_the_levels_of_iddpm_is_finite() -> None:
    """NaN in the published code: it rounds below the state's level, and subtracts the noise."""
    net: Any = load(str(FOLDER / "nets" / "samp_iddpm.safetensors"))
    data = recorded("one18_readme@samp_iddpm")
    given = {"restart_info": '{"0": [3, 2, 0.06, 0.3]}', "S_noise": 1.0}
    call = our_call({"sampler": "restart_sampler", "kwargs": given})
    noise = RecordedNoise(data["latents"], data["noise"], "cpu")
    with torch.inference_mode():
        out = run_sampler(net, call, {"class": torch.full((3,), -1)}, None, noise).native
    assert out.isfinite().all()


def test_the_command_line_replays_a_recorded_case(
    tmp_path: Path, certify: Certify, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = recorded("imnet14_readme@samp_edm_cond")
    np.savez(tmp_path / "in.npz", noise=data["latents"], draws=data["noise"])
    options = ["--noise", str(tmp_path / "in.npz"), "--latents", str(tmp_path / "out.npz")]
    for number in data["labels"].argmax(1).tolist():
        options += ["--class", str(number)]
    sampler = (
        "restart(steps=14, intervals=[[3, 1, 19.35, 40.79], [3, 1, 1.09, 1.92], [3, 1, 0.06, 0.3]],"
        " s_noise=1.003, inner_churn=0.05, churn_range=[0.01, 1])"
    )
    model = str(FOLDER / "nets" / "samp_edm_cond.safetensors")
    words = ["harness", "sample", "--model", model, "--sampler", sampler, *options]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code
    with np.load(tmp_path / "out.npz") as out:
        certify("restart", out["latents"], data["out"], atol=1e-5)
        assert out["nfe_cond"].tolist() == [39] * 3


@pytest.mark.parametrize(
    ("case", "sampler"),
    [
        ("edm", "edm(steps=8)"),
        (
            "restart",
            "restart(steps=18, intervals=[[3, 2, 0.06, 0.3]], s_noise=1.003, inner_churn=0.05,"
            " churn_range=[0.01, 1])",
        ),
    ],
)
def test_the_command_line_draws_the_official_pictures(
    tmp_path: Path, certify: Certify, monkeypatch: pytest.MonkeyPatch, case: str, sampler: str
) -> None:
    """From seeds, with the classes and the noise that they draw, to files of pictures."""
    model = str(FOLDER / "nets" / "samp_edm_cond.safetensors")
    words = ["harness", "sample", "--model", model, "--sampler", sampler]
    words += ["--seed", "0,1,999-1001", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code
    pictures = [np.asarray(Image.open(path)) for path in sorted(tmp_path.glob("*.png"))]
    with np.load(FOLDER / f"cli_{case}.npz") as data:
        # whole numbers; sums in another order may turn one
        certify(case, np.stack(pictures), data["images"], atol=1)
