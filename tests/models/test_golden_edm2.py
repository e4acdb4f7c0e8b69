"""EDM2's network and the decoding of its latents, on numbers recorded from the official code."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from harness.core.errors import HarnessError
from harness.models.edm import latents
from harness.models.edm.build import build, load_weights
from tests.conftest import Certify

FOLDER = Path(__file__).parent.parent / "golden" / "edm2"
FORWARD = np.load(FOLDER / "fwd.npz")
pytestmark = pytest.mark.golden


def network(name: str, upcast: bool = False) -> nn.Module:
    described = json.loads((FOLDER / "nets" / f"{name}.json").read_text())
    state = load_file(FOLDER / "nets" / f"{name}.safetensors")
    state = {key: value.float() for key, value in state.items()} if upcast else state
    return load_weights(build(described["class_name"], described["init_kwargs"]), state, name)


@pytest.mark.parametrize(("upcast", "output"), [(False, "D"), (True, "D_upcast")])
@pytest.mark.parametrize("case", sorted({key.rsplit("/", 1)[0] for key in FORWARD.files}))
def test_the_official_outputs_come_out(
    case: str, upcast: bool, output: str, certify: Certify
) -> None:
    """Of the published float16 weights, and of the same ones after `.float()`."""
    data = {
        key.rsplit("/", 1)[1]: value for key, value in FORWARD.items() if key.startswith(case + "/")
    }
    x, sigma = torch.from_numpy(data["x"]), torch.from_numpy(np.asarray(data["sigma"]))
    labels = torch.from_numpy(data["labels"]) if "labels" in data else None
    with torch.inference_mode():
        ours = network(case.split("/")[0], upcast)(x, sigma, labels)
    certify("network edm2", ours, data[output], atol=5e-6)


def test_gains_are_rounded_to_float16_as_published() -> None:
    x, sigma = torch.from_numpy(FORWARD["cond/vec/x"]), torch.from_numpy(FORWARD["cond/vec/sigma"])
    with torch.inference_mode():
        apart = (network("cond")(x, sigma) - network("cond", upcast=True)(x, sigma)).abs().max()
    assert apart > 1e-5


def test_latents_become_the_official_pictures() -> None:
    """A linear map stands for the autoencoder."""
    data = np.load(FOLDER / "decode_gi.npz")
    recorded = torch.from_numpy(data["latents"])
    np.testing.assert_array_equal(latents.to_autoencoder(recorded).numpy(), data["z"])
    weight = torch.from_numpy(data["W"])

    def linear(z: torch.Tensor) -> SimpleNamespace:
        mixed = torch.einsum("ij,bjhw->bihw", weight, z) + float(data["offset"])
        return SimpleNamespace(sample=mixed)

    pictures = latents.decode(SimpleNamespace(decode=linear), recorded)
    np.testing.assert_array_equal(pictures.numpy(), data["images"])


@pytest.mark.parametrize("case", ["cond", "uncond"])
def test_blocks_can_compute_in_half_precision(case: str) -> None:
    x, sigma = (torch.from_numpy(FORWARD[f"{case}/vec/{key}"]) for key in ("x", "sigma"))
    net = network(case)
    with torch.inference_mode():
        full = net(x, sigma)
        net.compute_in(torch.bfloat16)
        half = net(x, sigma)
    assert half.dtype == torch.float32
    assert 1e-5 < (half - full).abs().max() < 0.05


def test_narrow_blocks_have_no_attention() -> None:
    """Widths below `channels_per_head`, as published."""
    given = json.loads((FOLDER / "nets" / "bad.json").read_text())["init_kwargs"]
    names = build("Precond", {**given, "channels_per_head": 64}).state_dict()
    assert not [name for name in names if "attn" in name]
    assert [name for name in build("Precond", given).state_dict() if "attn" in name]


def test_all_settings_build_and_run() -> None:
    """Filters of four taps, clipped activations, own embedding widths, widths of odd heads."""
    net = build(
        "Precond",
        {
            **{"img_resolution": 16, "img_channels": 3, "label_dim": 7, "use_fp16": False},
            **{"sigma_data": 0.4, "logvar_channels": 24, "model_channels": 12},
            **{"channel_mult": [1, 3, 2], "channel_mult_noise": 2, "channel_mult_emb": 3},
            **{"num_blocks": 2, "attn_resolutions": [16, 8], "label_balance": 0.3},
            **{"concat_balance": 0.4, "resample_filter": [1, 3, 3, 1], "channels_per_head": 12},
            **{"res_balance": 0.4, "attn_balance": 0.2, "clip_act": 1.5, "dropout": 0.1},
        },
    )
    generator = torch.Generator().manual_seed(0)
    state = {k: torch.randn(v.shape, generator=generator) for k, v in net.state_dict().items()}
    load_weights(net, state, "random")
    x = torch.randn(2, 3, 16, 16, generator=generator)
    with torch.inference_mode():
        whole = net(x, torch.tensor([0.5, 3.0]), torch.eye(7)[:2])
        one = net(x[:1], torch.tensor(0.5), torch.eye(7)[:1])
    assert bool(whole.isfinite().all())
    np.testing.assert_allclose(one, whole[:1], atol=1e-5, rtol=0)


def test_an_unknown_argument_is_named() -> None:
    with pytest.raises(HarnessError, match=r"num_block'.*num_blocks"):
        build("Precond", {"img_resolution": 8, "img_channels": 3, "label_dim": 0, "num_block": 2})
