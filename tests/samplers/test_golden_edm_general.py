"""EDM's general sampler on recorded samples of the official one (`ablation_sampler`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.engine.denoiser import Denoiser
from harness.engine.needs import apply
from harness.engine.noise import NoiseStreams, RecordedNoise
from harness.engine.policies.classifier_free import ClassifierFree
from harness.engine.resolve import resolve
from harness.models.edm.grids import iddpm_grid, vp_grid
from harness.models.load import load
from harness.samplers.base import SAMPLERS
from harness.samplers.edm_general import Vp
from tests.conftest import Certify
from tests.samplers.test_golden_restart import RANGES, Toy

FOLDER = Path(__file__).parent.parent / "golden" / "restart"
CASES: dict[str, dict[str, Any]] = json.loads((FOLDER / "cases_ablation.json").read_text())
pytestmark = pytest.mark.golden


def ladder(net: Any, steps: int, given: dict[str, Any]) -> torch.Tensor:
    """The model's ladder, or a grid of constants that cannot be asked for."""
    spacing = given.get("discretization", "edm")
    spacing = "karras" if spacing == "edm" else spacing
    if "M" in given:
        grid = iddpm_grid(steps, 0.002, 81.0, given["M"], given["C_1"], given["C_2"])
    elif "epsilon_s" in given:
        grid = vp_grid(steps, *_range_from(given["epsilon_s"]), given["epsilon_s"])
    else:
        return net.ladder(steps, spacing)
    return torch.cat([grid, torch.zeros(1)])


def _range_from(epsilon: float) -> tuple[float, float]:
    """The levels of VP's own schedule at times epsilon and 1, within what its network knows."""
    own = Vp(19.9, 0.1)
    low, high = (float(own.sigma(torch.tensor(t).double())) for t in (epsilon, 1.0))
    return max(low, RANGES["toy_vp"][0]), min(high, RANGES["toy_vp"][1])


def params_of(given: dict[str, Any]) -> dict[str, Any]:
    params = {"steps": given["num_steps"], "solver": given.get("solver", "heun")}
    for ours, theirs in (("schedule", "schedule"), ("scaling", "scaling"), ("alpha", "alpha")):
        params |= {ours: given[theirs]} if theirs in given else {}
    for name in ("S_churn", "S_min", "S_max", "S_noise"):
        params |= {name.lower(): given[name]} if name in given else {}
    if (given.get("discretization"), given.get("schedule")) == ("iddpm", "vp"):
        params |= {"vp_range": [0.002, 81.0]}  # theirs: the range that was asked for
    if "epsilon_s" in given:  # ours is always fitted at 0.001
        low, high = _range_from(given["epsilon_s"])
        theirs = Vp.fit(low, high, given["epsilon_s"])
        low = float(theirs.sigma(torch.tensor(0.001).double()))
        params |= {"vp_range": [low, high]}
    return params


@pytest.fixture(scope="module")
def nets() -> dict[str, Any]:
    """The network of each family."""
    names = ("edm", "vp", "ve", "iddpm")
    return {name: load(str(FOLDER / "nets" / f"samp_{name}.safetensors")) for name in names}


@pytest.fixture(scope="module")
def recorded() -> dict[str, torch.Tensor]:
    with np.load(FOLDER / "io_ablation.npz") as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


@pytest.mark.parametrize("name", CASES)
def test_the_official_samples_come_out(
    name: str, nets: dict[str, Any], recorded: dict[str, torch.Tensor], certify: Certify
) -> None:
    case = CASES[name]
    kind, _, family = case["net"].partition("_")
    net, given = nets[family], case["kwargs"]
    call = resolve(Call("edm_general", params_of(given)), {})
    sigmas = ladder(net, given["num_steps"], given)
    first = recorded[f"{name}/sigmas"][:: 2 if call.params["solver"] == "heun" else 1]
    if "S_churn" not in given:
        # theirs loses digits of exp(u) - 1 at the smallest u
        rtol = 1e-7 if "epsilon_s" in given else 1e-9
        certify("edm_general", sigmas[:-1], first, atol=1e-12, rtol=rtol)
    latents, out = recorded[f"{name}/latents"], recorded[f"{name}/out"]
    noise = RecordedNoise(latents, recorded.get(f"{name}/noise"), "cpu")
    toy = {"bias": torch.zeros(len(latents), dtype=torch.float64)}
    condition = toy if kind == "toy" else {"class": torch.full((len(latents),), -1)}
    denoise = Denoiser(Toy() if kind == "toy" else net, condition, None, ClassifierFree())
    own = {key: value for key, value in call.params.items() if key != "steps"}
    with torch.inference_mode():
        x = noise().double() * sigmas[0]
        ours = apply(SAMPLERS.get("edm_general"), denoise, (x, sigmas, noise), own, net)
    noise.close()
    # the official code adds the square root of a rounding error as noise, where it should add none;
    # networks are float32, whose sums another machine takes in another order
    atol = 2e-6 if kind == "toy" else 1e-5
    certify("edm_general", ours, out, atol=atol * max(1.0, float(out.abs().max())))
    assert set(denoise.evaluations["main", "cond"].tolist()) == {case["nfe"]}


@pytest.mark.parametrize(("levels", "solver"), [(9, "heun"), (8, "euler")])
def test_its_linear_schedule_is_edms_sampler(
    nets: dict[str, Any], levels: int, solver: str
) -> None:
    """Also on a ladder that ends above 0."""
    sigmas = nets["edm"].ladder(8)[:levels]
    outs = []
    for name in ("edm", "edm_general"):
        denoise = Denoiser(Toy(), {"bias": torch.zeros(2)}, None, ClassifierFree())
        noise = NoiseStreams([0, 1], (3, 8, 8), dtype=torch.float64)
        own = {"s_churn": 20.0, "s_noise": 1.003, "solver": solver}
        outs.append(apply(SAMPLERS.get(name), denoise, (80 * noise().double(), sigmas, noise), own))
    torch.testing.assert_close(outs[0], outs[1], rtol=0, atol=1e-12)


def test_every_schedule_finds_the_same_solution_above_zero(nets: dict[str, Any]) -> None:
    sigmas = nets["edm"].ladder(60)[:-1]
    outs = []
    for schedule, scaling in (("linear", "none"), ("vp", "vp"), ("ve", "vp")):
        denoise = Denoiser(Toy(), {"bias": torch.zeros(2)}, None, ClassifierFree())
        noise = NoiseStreams([0, 1], (3, 8, 8), dtype=torch.float64)
        x, own = 80 * noise().double(), {"schedule": schedule, "scaling": scaling}
        outs.append(apply(SAMPLERS.get("edm_general"), denoise, (x, sigmas, noise), own))
    torch.testing.assert_close(outs[0], outs[1], rtol=0, atol=0.02)
    torch.testing.assert_close(outs[0], outs[2], rtol=0, atol=0.05)


def test_a_vp_schedule_needs_two_levels() -> None:
    denoise = Denoiser(Toy(), {"bias": torch.zeros(1)}, None, ClassifierFree())
    noise = NoiseStreams([0], (3, 8, 8), dtype=torch.float64)
    start = noise(), torch.tensor([80.0, 0.0]), noise
    with pytest.raises(HarnessError, match="two levels"):
        apply(SAMPLERS.get("edm_general"), denoise, start, {"schedule": "vp"})
