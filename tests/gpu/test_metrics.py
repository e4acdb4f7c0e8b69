"""Every metric on a card gives what it gives on a CPU, up to float32's rounding.

Of set and prompt metrics the features are compared: what becomes of those is arithmetic of NumPy,
which knows no device. Networks are small or of random weights.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.metrics.base import METRICS, ItemMetric, ItemRow, Metric, make_metric
from tests.gpu.cards import DEVICE
from tests.metrics.random_weights import dinov2_state, inception_script, inception_state
from tests.metrics.test_clip import NAME
from tests.metrics.test_clip import weights as clip_weights
from tests.metrics.test_hpsv2 import TINY, save_checkpoint
from tests.metrics.test_imagereward import vocabulary
from tests.metrics.test_pickscore import folder as pickscore_folder
from tests.metrics.test_shapes import drawings

__all__ = ["clip_weights", "pickscore_folder"]

ROUNDING = 1e-4
"""Relative to the largest: of float32's 6e-8 through some tens of layers far less is left."""

IMAGES = 6

INCEPTION = ("fid", "fid-clean", "fid-pytorch", "inception-score")
ANY_ENCODER = ("fd", "kid", "precision", "recall", "density", "coverage")
CLIP = ("clip", "clip-g", "fd-clip", "cmmd", "diversity-clip")
WORLD = ("shapes-alignment", "shapes-exact", "shapes-clip")
OWN = ("saturation", "contrast", "shapes-fd", "shapes-diversity", *WORLD)
KINDS = {
    **dict.fromkeys(OWN, "{name}"),
    **dict.fromkeys(INCEPTION, "{name}(checkpoint={files}/inception.pth)"),
    **dict.fromkeys(ANY_ENCODER, "{name}(net='inception-tf(checkpoint={files}/inception.pth)')"),
    **dict.fromkeys(CLIP, f"{{name}}(model={NAME}, pretrained={{clip}})"),
    "aesthetic": f"{{name}}(head={{files}}/head.pth, model={NAME}, pretrained={{clip}})",
    "fd-dinov2": "{name}(checkpoint={files}/dinov2.pth)",
    "diversity": "{name}(checkpoint={files}/dinov2.pth)",
    "hpsv2": "{name}(checkpoint={files}/HPS_v2_compressed.pt)",
    "hpsv2.1": "{name}(checkpoint={files}/HPS_v2_compressed.pt)",
    "imagereward": "{name}(checkpoint={files}/reward.pt, vocabulary={files}/vocab.txt)",
    "pickscore": "{name}(folder={pickscore})",
}
"""How a registered metric is made from small weights."""

WITHOUT = {"reference_error"}
"""Compares stored pictures, and runs on no device."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder of small weights, in the formats of the published files."""
    from open_clip import factory

    held = list(factory._MODEL_CONFIG_PATHS)
    made = tmp_path_factory.mktemp("weights")
    inception_state(made / "inception.pth")
    inception_script(made / "inception.pt")
    dinov2_state(made / "dinov2.pth")
    save_checkpoint(made, TINY)
    _save_head(made / "head.pth", 24)
    _save_reward(made / "reward.pt")
    vocabulary(made)
    yield made
    factory._MODEL_CONFIG_PATHS[:] = held
    factory._rescan_model_configs()


def _linear(widths: list[int], prefix: str = "") -> dict[str, torch.Tensor]:
    """The published regression heads: five layers, by their places in a Sequential."""
    state = {}
    for place, (inside, outside) in zip((0, 2, 4, 6, 7), itertools.pairwise(widths), strict=True):
        state[f"{prefix}layers.{place}.weight"] = torch.randn(outside, inside) / inside**0.5
        state[f"{prefix}layers.{place}.bias"] = torch.randn(outside) / 10
    return state


def _save_head(path: Path, width: int) -> None:
    torch.manual_seed(1)
    torch.save(_linear([width, 1024, 128, 64, 16, 1]), path)


def _save_reward(path: Path, width: int = 64, patch: int = 16, grid: int = 4) -> None:
    """ImageReward's file with a small BLIP: names as published."""
    from transformers import BlipTextConfig
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    torch.manual_seed(2)
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + grid**2, width),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for i, (name, outside, inside) in itertools.product(
        range(2),
        [
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
            ("norm1", width, 0),
            ("norm2", width, 0),
        ],
    ):
        shapes[f"blocks.{i}.{name}.weight"] = (outside, inside) if inside else (outside,)
        shapes[f"blocks.{i}.{name}.bias"] = (outside,)
    state = {f"blip.visual_encoder.{k}": torch.randn(shape) / 10 for k, shape in shapes.items()}
    config = BlipTextConfig(
        vocab_size=100,
        hidden_size=width,
        encoder_hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=1,
        max_position_embeddings=64,
        is_decoder=True,
    )
    reader = BlipTextModel(config, add_pooling_layer=False).state_dict()
    state |= {f"blip.text_encoder.{name}": value for name, value in reader.items()}
    torch.save(state | _linear([width, 1024, 128, 64, 16, 1], "mlp."), path)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Noise with edges, neither square nor of any network's size."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (IMAGES, 3, 80, 96), np.uint8)
    pictures[1, :, :40] = 255
    pictures[2, 0] = 0
    return torch.from_numpy(pictures)


def world() -> tuple[torch.Tensor, list[str]]:
    """Drawings of captions, each of which half of them also show."""
    captions, pictures = drawings(2)
    texts = [*captions[: IMAGES // 2], *captions[: IMAGES // 2]]
    return torch.from_numpy(np.stack(pictures[:IMAGES])), texts


def suited(name: str, images: torch.Tensor) -> tuple[torch.Tensor, list[str]]:
    """The pictures and texts that a metric is given: its world's, or `images` with any texts."""
    return world() if name in WORLD else (images, ["a cat", "two blue stars", "a green square"] * 2)


def test_the_table_knows_every_metric() -> None:
    assert {name for name, _ in METRICS} == KINDS.keys() | WITHOUT


@pytest.mark.parametrize("name", KINDS)
def test_a_metric_is_that_of_a_cpu(
    name: str, files: Path, clip_weights: Path, pickscore_folder: Path, images: torch.Tensor
) -> None:
    images, texts = suited(name, images)
    text = KINDS[name].format(name=name, files=files, clip=clip_weights, pickscore=pickscore_folder)
    found, expected = (
        _values(make_metric(text), images, texts, device) for device in (DEVICE, "cpu")
    )
    assert float(expected.std()) > 0
    assert float((found - expected).abs().max()) < ROUNDING * float(expected.abs().max())


def test_a_script_of_inception_is_that_of_a_cpu(files: Path, images: torch.Tensor) -> None:
    text, texts = f"fid(checkpoint={files}/inception.pt)", [""] * IMAGES
    found, expected = (
        _values(make_metric(text), images, texts, device) for device in (DEVICE, "cpu")
    )
    assert float((found - expected).abs().max()) < ROUNDING * float(expected.abs().max())


def _values(metric: Metric, images: torch.Tensor, texts: list[str], device: str) -> torch.Tensor:
    """An item metric's scores of the images, or the features that another rests on; float64."""
    metric.load(device)
    with torch.inference_mode():
        if not isinstance(metric, ItemMetric):
            return metric.features.encode(images).cpu().double()
        metric.prepare(list(dict.fromkeys(texts)))
        scores = metric.values(images, [ItemRow(text) for text in texts])
        return torch.tensor(scores, dtype=torch.float64)
