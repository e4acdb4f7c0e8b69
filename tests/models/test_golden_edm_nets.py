"""EDM's networks on recorded outputs of the official ones, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from harness.models.edm.build import build, load_weights
from tests.conftest import Certify

FOLDER = Path(__file__).parent.parent / "golden" / "restart"
NAMES = sorted(path.stem.removeprefix("fwd_") for path in FOLDER.glob("fwd_*.npz"))
CASES = ("vec", "vec_f32", "scalar", "ends", "nolabel", "softlabel")
pytestmark = pytest.mark.golden


@pytest.fixture(scope="module", params=NAMES)
def recorded(request: pytest.FixtureRequest) -> tuple[Any, dict[str, Any], dict[str, torch.Tensor]]:
    """A network with its weights, its description and the recorded arrays."""
    about = json.loads((FOLDER / "nets" / f"{request.param}.json").read_text())
    state = load_file(FOLDER / "nets" / f"{request.param}.safetensors")
    net = load_weights(build(about["class_name"], about["init_kwargs"]), state, request.param)
    with np.load(FOLDER / f"fwd_{request.param}.npz") as data:
        return net, about, {key: torch.from_numpy(data[key]) for key in data.files}


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_the_official_ones(recorded: Any, case: str, certify: Certify) -> None:
    net, about, data = recorded
    if f"{case}.x" not in data:
        assert about["init_kwargs"]["label_dim"] == 0  # cases about labels
        return
    seen: list[torch.Tensor] = []
    hook = net.model.register_forward_hook(lambda _, given, out: seen.extend([*given[:2], out]))
    out = net(data[f"{case}.x"], data[f"{case}.sigma"], data.get(f"{case}.labels"))
    hook.remove()
    assert out.dtype == torch.float32
    assert relative(seen[0], data[f"{case}.x_in"]) == 0
    assert relative(seen[1], data[f"{case}.c_noise"]) < 1e-7
    assert relative(seen[2], data[f"{case}.F_x"]) < 5e-6
    expected = data[f"{case}.D"]
    family = f"network {about['class_name']}, {about['init_kwargs']['model_type']}"
    certify(family, out, expected, atol=5e-6 * float(expected.abs().max()))


def test_the_range_and_its_levels_are_the_official_ones(recorded: Any) -> None:
    net, about, data = recorded
    assert sum(p.numel() for p in net.parameters()) == about["n_params"]
    assert net.sigma_min == about["sigma_min"]
    assert net.sigma_max == pytest.approx(about["sigma_max"], rel=1e-6)
    for given, expected in (("in", "out"), ("in", "out_from_f32")):
        levels = data[f"round.{given}"].to(data[f"round.{expected}"].dtype)
        assert torch.equal(net.round_sigma(levels), data[f"round.{expected}"])


def test_the_levels_of_iddpm_are_the_official_ones() -> None:
    about = json.loads((FOLDER / "nets" / "iddpm_adm_cond.json").read_text())
    net: Any = build(about["class_name"], about["init_kwargs"])
    with np.load(FOLDER / "fwd_iddpm_adm_cond.npz") as data:
        np.testing.assert_allclose(net.u.numpy(), data["u"], rtol=2e-6)
