"""Weights in the forms that people have: run, or told what they are and what to do."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.core.data import data_path
from harness.core.errors import HarnessError
from harness.models.edm.checkpoints.convert import convert
from harness.models.edm.describe import describe_file
from harness.models.load import find, load
from harness.models.pipelines.noise_schedule import read_schedule
from tests.models import published

PIPELINE = data_path("harness/models/shapes/pipeline")


@pytest.fixture
def pipeline(tmp_path) -> Path:
    return Path(shutil.copytree(PIPELINE, tmp_path / "mine"))


def test_a_folder_of_the_fp16_variant_alone_is_run(pipeline):
    own = load(str(pipeline), dtype="float16").net.state_dict()
    for path in [*pipeline.rglob("*.safetensors")]:
        save_file(load_file(path), path.with_suffix(".fp16.safetensors"), {"format": "pt"})
        path.unlink()
    read = load(str(pipeline), dtype="float16").net.state_dict()
    assert all(torch.equal(read[name], value) for name, value in own.items())


def test_a_scheduler_of_another_family_is_refused_and_nothing_is_advised(pipeline):
    settings = {"_class_name": "EDMDPMSolverMultistepScheduler", "sigma_max": 80, "sigma_data": 0.5}
    (pipeline / "scheduler" / "scheduler_config.json").write_text(json.dumps(settings))
    for overrides in ({}, {"beta_start": 0.1}):  # never run on a discrete schedule
        with pytest.raises(HarnessError, match="EDMDPMSolverMultistepScheduler") as caught:
            read_schedule(pipeline, overrides)
        assert "MODEL(beta" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model.diffusion_model.conv_in.bias", r"single-file checkpoint.*from_single_file\("),
        ("down_blocks.0.attentions.0.norm.bias", "weights of a diffusers network alone"),
        ("unet.down_blocks.0.lora_A.weight", "is a LoRA, not a model"),
        ("enc.weight", "weights without their network: it needs w.json beside it"),
    ],
)
def test_a_safetensors_is_known_by_the_names_in_it(tmp_path, name, words):
    path = tmp_path / "w.safetensors"
    save_file({name: torch.zeros(2)}, path)
    with pytest.raises(HarnessError, match=words):
        find(str(path))
    assert re.search(f"cannot be run: .*{words}", "\n".join(describe_file(path)))
    with pytest.raises(HarnessError, match=f"{words}|is a .safetensors already"):
        convert(path)


def test_weights_alone_need_their_network_and_run_with_it(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(published.saved({"model.map_layer0.weight": torch.zeros(4, 4)}))
    with pytest.raises(HarnessError, match=r"weights without their network: it needs w\.json"):
        find(str(path))
    weights = load_file(data_path("harness/models/shapes_edm/uncond.safetensors"))
    path.write_bytes(published.saved(dict(weights)))
    shutil.copy(data_path("harness/models/shapes_edm/uncond.json"), tmp_path / "w.json")
    read = load(str(path)).net.state_dict()  # the advice, followed, helps
    assert all(torch.equal(read[name], value.float()) for name, value in weights.items())
