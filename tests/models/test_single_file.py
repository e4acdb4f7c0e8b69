"""Single-file checkpoints, recognised by their keys."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import harness
from harness.core.errors import HarnessError
from harness.models.load import find, load
from harness.models.pipelines import single_file_entry
from tests.conftest import TINY_SDXL
from tests.models.one_file import save_as_one_file

TINY_SD = Path(__file__).parents[1] / "golden" / "asyndm" / "model"


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (
            "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias",
            "stabilityai/stable-diffusion-xl-base-1.0",
        ),
        (
            "model.diffusion_model.output_blocks.11.0.skip_connection.weight",
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
        ),
        ("double_blocks.0.img_attn.norm.key_norm.scale", "black-forest-labs/FLUX.1-"),
    ],
)
def test_a_single_file_is_recognised_and_how_to_convert_it_is_said(
    key: str, kind: str, tmp_path: Path
) -> None:
    file = tmp_path / "photo_v3.safetensors"
    save_file({key: torch.zeros(2, 2)}, file)
    with pytest.raises(HarnessError, match=f"single-file checkpoint of the kind of {kind}") as told:
        find(str(file))
    assert f"FOLDER(single_file={file})" in str(told.value)
    assert f"from_single_file('{file}').save_pretrained('{tmp_path}/photo_v3')" in str(told.value)


def test_another_file_of_tensors_is_what_it_was(tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    save_file({"model.map_layer0.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(HarnessError, match=r"net\.json"):
        find(str(file))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Stable Diffusion as one file."""
    from diffusers import StableDiffusionPipeline

    file = tmp_path_factory.mktemp("one") / "photo_v3.safetensors"
    save_as_one_file(StableDiffusionPipeline.from_pretrained(TINY_SD, safety_checker=None), file)
    return file


def _latents(model: str, folder: Path) -> np.ndarray:
    about = {"prompt": "a cat", "size": 64, "latents": folder / "l.npz"}
    harness.sample("ddim(steps=2, guidance=3)", model=model, **about)  # type: ignore[arg-type]
    with np.load(folder / "l.npz") as arrays:
        return np.array(arrays["latents"])


def test_a_single_file_is_its_pipeline(checkpoint: Path, tmp_path: Path) -> None:
    """With a folder's configurations, of which the weights are not read."""
    configurations = tmp_path / "configurations"
    ignored = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(TINY_SD, configurations, ignore=ignored)
    found = _latents(f"{configurations}(single_file={checkpoint})", tmp_path)
    np.testing.assert_array_equal(found, _latents(str(TINY_SD), tmp_path))
    entry = find(f"{configurations}(single_file={checkpoint})")
    assert entry.revision().startswith(find(str(configurations)).revision() + "+")


def test_a_single_file_alone_has_its_kinds_configurations(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_file_entry, "small_files", lambda repo: TINY_SD)
    entry = find(str(checkpoint))
    assert entry.name == "photo_v3"
    assert "stable-diffusion-v1-5" in entry.source
    found = _latents(str(checkpoint), tmp_path)
    np.testing.assert_array_equal(found, _latents(str(TINY_SD), tmp_path))


def test_a_file_that_does_not_fit_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    whole = load_file(checkpoint)
    half = {key: value for key, value in whole.items() if "output_blocks" not in key}
    save_file(half, tmp_path / "half.safetensors")
    for file, words in (
        ("half.safetensors", "lacks weights of the unet|does not fit"),
        ("none.safetensors", "must be a .safetensors file that is there"),
    ):
        with pytest.raises(HarnessError, match=words):
            load(f"{TINY_SD}(single_file={tmp_path / file})")
    with pytest.raises(HarnessError, match="does not fit the configurations"):
        load(f"{TINY_SDXL}(single_file={checkpoint})")
