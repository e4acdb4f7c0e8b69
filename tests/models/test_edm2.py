"""EDM2's networks as models: whole pipelines, latents to pictures, presets and their files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.core.errors import HarnessError
from harness.models.base import MODELS
from harness.models.load import find, load
from harness.runs.folder import Settings
from harness.runs.plan import plan
from harness.runs.single import draw, expand
from tests.conftest import Certify

FOLDER = Path(__file__).parent.parent / "golden" / "edm2"
COND, UNCOND = (str(FOLDER / "nets" / f"{name}.safetensors") for name in ("cond", "uncond"))
PIPELINES = {
    "pipe_edm2_random": "edm(steps=6, guidance=1.4)",
    "pipe_edm2_churn": "edm(steps=6, guidance=1.4, s_churn=10, s_min=0.05, s_max=50, "
    "s_noise=1.003, draw=churned)",
    "pipe_gi_random": "edm(steps=8, guidance=2, interval_steps=[3, 5])",
}


@pytest.mark.golden
@pytest.mark.parametrize("name", PIPELINES)
def test_seeds_give_the_official_latents_and_classes(name: str, certify: Certify) -> None:
    """From a seed: noise, class and churn in the published order; batches do not matter."""
    data = np.load(FOLDER / f"{name}.npz")
    job = plan(COND, PIPELINES[name], guide=UNCOND)
    request = expand([""], [], [int(seed) for seed in data["seeds"]], None)
    _, batch = draw(job, request, Settings(batch_size=4))
    assert batch.classes == data["labels"].argmax(1).tolist()
    certify("edm", batch.native, data["final"], atol=1e-4)


def test_a_file_of_latents_has_the_papers_defaults() -> None:
    entry = find(COND)
    found = (entry.size, entry.steps, entry.guidance, entry.batch_size, entry.classes)
    assert found == ((128, 128), 32, 1.0, 32, 10)
    model = load(COND)
    assert model.latent_shape((128, 128)) == (4, 16, 16)
    assert model.state_dtype == torch.float32  # so that churn draws what the published code draws
    assert model.ladder(32)[[0, 31, 32]].tolist() == pytest.approx([80, 0.002, 0])


def test_pictures_need_the_autoencoder_and_say_where_to_get_it() -> None:
    with pytest.raises(HarnessError, match=r"hf download stabilityai/sd-vae-ft-mse.*vae=FOLDER"):
        find(COND).decodable({})
    with pytest.raises(HarnessError, match=r"no config\.json"):
        find(COND).decodable({"vae": "/nowhere"})


def test_pictures_come_through_the_users_autoencoder(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    blocks = {"up_block_types": ["UpDecoderBlock2D"] * 4, "block_out_channels": [8] * 4}
    down = {"down_block_types": ["DownEncoderBlock2D"] * 4, "norm_num_groups": 4}
    AutoencoderKL(**blocks, **down, latent_channels=4).save_pretrained(tmp_path / "vae")
    model = load(f"{COND}(vae={tmp_path / 'vae'})")
    pictures = model.decode(torch.randn(2, 4, 16, 16))
    assert pictures.shape == (2, 3, 128, 128)
    assert pictures.dtype == torch.uint8
    with pytest.raises(HarnessError, match=r"'vea'.*vae"):
        find(COND).ladders({"vea": "x"})


PRESETS = json.loads((FOLDER / "presets.json").read_text())


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_the_published_ones(name: str) -> None:
    entry, published = MODELS.get(name), PRESETS[name]
    assert entry.source.endswith(f"/edm2/posthoc-reconstructions/{published['net']}")
    guide = published["gnet"] and published["gnet"].removesuffix(".pkl")
    assert (entry.guide, entry.guidance) == (guide, published["guidance"] or 1)
    assert f"{published['expected']:g}" in entry.title
    assert entry.classes == (0 if "uncond" in published["net"] else 1000)


def test_a_preset_brings_its_guide_and_weight_without_a_download() -> None:
    job = plan("edm2-img512-s-guid-fid", "edm(interval=[0.28, 2.90])")
    assert job.spec.guide == "edm2-img512-xs-uncond-2147483-0.025"
    assert job.spec.sampler.params["guidance"] == 1.4
    assert job.spec.size == (512, 512)
    assert job.nfe == 63 + 14
    assert plan("edm2-img512-s-guid-fid", "edm(guidance=1)").spec.guide is None
    other = plan("edm2-img64-s-fid", "edm(guidance=2)", guide="edm2-img64-xs-0134217-0.110")
    assert (other.spec.guide, other.nfe) == ("edm2-img64-xs-0134217-0.110", 126)
