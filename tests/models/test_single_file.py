"""Single-file checkpoints, recognised by their keys."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from harness.core.errors import HarnessError
from harness.models.load import find


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
    assert f"from_single_file('{file}').save_pretrained('{tmp_path}/photo_v3')" in str(told.value)


def test_another_file_of_tensors_is_what_it_was(tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    save_file({"model.map_layer0.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(HarnessError, match=r"net\.json"):
        find(str(file))
