"""DINOv2: transformers' network, the recorded resizing of EDM2 and the guidance interval."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.core.errors import HarnessError
from harness.metrics.base import make_metric
from harness.metrics.dinov2 import MEAN, STD, Dinov2, open_dinov2
from tests.conftest import Certify
from tests.metrics.random_weights import dinov2_state

RECORDED = Path(__file__).parent.parent / "golden" / "metrics" / "dino_pre.npz"
golden = pytest.mark.golden


@golden
@pytest.mark.parametrize(("resize", "key"), [("edm2", "edm2_torch_crop"), ("pil", "gi_crop")])
def test_resizing_is_the_recorded_one(resize: str, key: str, certify: Certify) -> None:
    recorded = np.load(RECORDED)
    encoder = Dinov2(resize=resize)  # type: ignore[arg-type]
    encoder.device = "cpu"
    top, bottom, left, right = recorded["crop"]
    found = encoder.prepare(torch.from_numpy(recorded["images"]))
    found = found[..., top:bottom, left:right]
    code = "EDM2's" if resize == "edm2" else "the guidance interval's"
    certify(
        f"metric fd-dinov2(resize={resize})", found, recorded[key],
        atol=1e-5, reference=f"{code} official code, recorded",
    )  # fmt: skip


def _dgm_evals(picture: Image.Image, clean_resize: bool) -> torch.Tensor:
    """What dgm-eval's loader gives its DINOv2 for a picture, of the parts that it is made of."""
    from cleanfid.resize import make_resizer
    from torchvision import transforms as T

    picture = picture.convert("RGB")
    if clean_resize:
        resized = make_resizer("PIL", False, "bicubic", (224, 224))(np.array(picture))
        pixels = torch.from_numpy(resized).permute(2, 0, 1) / 255
    else:
        bicubic = T.InterpolationMode.BICUBIC
        pixels = T.Compose([T.Resize((224, 224), bicubic), T.ToTensor()])(picture)
    found: torch.Tensor = T.Normalize(MEAN, STD)(pixels)
    return found


@golden
@pytest.mark.parametrize(("resize", "clean_resize"), [("pil", False), ("clean", True)])
@pytest.mark.parametrize("size", [(70, 300), (300, 260), (224, 224)])
def test_both_loaders_of_dgm_eval_have_their_name(
    resize: str, clean_resize: bool, size: tuple[int, int], certify: Certify
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    encoder = Dinov2(resize=resize)  # type: ignore[arg-type]
    encoder.device = "cpu"
    found = encoder.prepare(torch.from_numpy(image).permute(2, 0, 1)[None])[0]
    theirs = _dgm_evals(Image.fromarray(image), clean_resize)
    made_of = "clean-fid" if clean_resize else "torchvision"
    certify(f"metric fd-dinov2(resize={resize})", found, theirs, atol=1e-5, reference=made_of)
    if size != (224, 224):  # where nothing is resized there is nothing to mix up
        other = _dgm_evals(Image.fromarray(image), not clean_resize)
        assert float((found - other).abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["fd-dinov2", "diversity"])
def test_the_name_that_was_taken_for_dgm_evals_default_is_refused(name: str) -> None:
    with pytest.raises(HarnessError, match=r"pil, dgm-eval's default.* or clean, its --clean_re"):
        make_metric(f"{name}(resize=dgm-eval)")
    with pytest.raises(HarnessError, match="'edm2', 'pil' or 'clean'"):
        make_metric(f"{name}(resize=cleen)")
    assert make_metric(f"{name}(resize=clean)").label not in {
        make_metric(f"{name}(resize={other})").label for other in ("edm2", "pil")
    }


@golden
def test_the_network_is_transformers(tmp_path: Path, certify: Certify) -> None:
    from transformers import Dinov2Config, Dinov2Model

    path = dinov2_state(tmp_path / "tiny.pth", grid=16)
    network = open_dinov2(str(path))
    theirs = Dinov2Model(
        Dinov2Config(
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=1,
            image_size=224,
            patch_size=14,
        )
    ).eval()
    state = torch.load(path, weights_only=True)
    theirs.load_state_dict(_renamed(state, theirs.state_dict()))
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = theirs(pixels).pooler_output
        found = network(pixels)
    certify("metric fd-dinov2", found, expected, atol=1e-5, reference="transformers")


def _renamed(
    state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The official names as transformers': its keys, by what they are."""
    plain = {
        "embeddings.cls_token": "cls_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.mask_token": "mask_token",
        "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
        "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
        "layernorm.weight": "norm.weight",
        "layernorm.bias": "norm.bias",
    }
    inner = {
        r"attention\.(output\.dense|o_proj)": "attn.proj",
        r"layer_scale(\d)\.lambda1": r"ls\1.gamma",
    }
    found = {}
    for name in wanted:
        if name in plain:
            found[name] = state[plain[name]]
            continue
        block = re.sub(r"encoder\.layer\.", "blocks.", name)
        part = re.search(r"attention\..*?(query|key|value|[qkv]_proj)\.(\w+)$", block)
        if part:
            qkv = state[f"{block[: part.start()]}attn.qkv.{part[2]}"].chunk(3)
            found[name] = qkv["qkv".index(part[1][0])]
            continue
        for theirs, ours in inner.items():
            block = re.sub(theirs, ours, block)
        found[name] = state[block]
    return found


def test_positions_are_scaled_as_the_official_code_does(tmp_path: Path) -> None:
    """By (16 + 0.1) / 37: not the same as resizing to 16."""
    path = dinov2_state(tmp_path / "tiny.pth", grid=37)
    found = open_dinov2(str(path)).pos_embed
    planes = torch.load(path, weights_only=True)["pos_embed"][:, 1:].reshape(1, 37, 37, 64)
    planes = planes.permute(0, 3, 1, 2)
    at = (torch.arange(16) + 0.5) * 37 / 16.1 - 0.5
    grid = (2 * at + 1) / 37 - 1
    points = torch.stack(torch.meshgrid(grid, grid, indexing="ij")[::-1], -1)[None]
    expected = torch.nn.functional.grid_sample(
        planes, points, mode="bicubic", padding_mode="border", align_corners=False
    )
    torch.testing.assert_close(
        found[:, 1:].reshape(1, 16, 16, 64).permute(0, 3, 1, 2), expected, atol=1e-4, rtol=0
    )


def test_features_and_their_convention(tmp_path: Path) -> None:
    path = dinov2_state(tmp_path / "tiny.pth")
    encoder = Dinov2(resize="pil", checkpoint=str(path))
    encoder.check()
    encoder.load("cpu")
    images = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (3, 3, 50, 40), np.uint8))
    with torch.inference_mode():
        together = encoder.encode(images)
        apart = torch.cat([encoder.encode(image[None]) for image in images])
    assert together.shape == (3, encoder.width) == (3, 64)
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)
    assert encoder.convention == "dinov2(resize=pil)"


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "x.pth")
    with pytest.raises(HarnessError, match=r"x.pth does not load as official weights of DINOv2"):
        Dinov2(checkpoint=str(tmp_path / "x.pth")).load("cpu")
    with pytest.raises(HarnessError, match=r"dinov2_vitl14_pretrain\.pth"):
        Dinov2(checkpoint="/no/such").check()
