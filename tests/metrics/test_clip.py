"""The CLIP score equals open_clip used by hand; missing weights are named."""

from __future__ import annotations

import json
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from harness.errors import HarnessError
from harness.metrics.base import ItemMetric, ItemRow, make_metric
from harness.metrics.clip import Clip
from harness.metrics.open_clip_encoder import OpenClip

open_clip = pytest.importorskip("open_clip")

NAME = "harness-tiny"
LONG = " ".join(["a very long prompt"] * 40)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random open_clip model with a configuration of its own."""
    folder = tmp_path_factory.mktemp("clip")
    tower = {"layers": 2, "width": 32}
    vision = {"image_size": 32, "patch_size": 8, "head_width": 16, **tower}
    text = {"context_length": 77, "vocab_size": 49408, "heads": 2, **tower}
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    (folder / f"{NAME}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{NAME}.json")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model(NAME)
    torch.save(model.state_dict(), folder / "tiny.pt")
    return folder / "tiny.pt"


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (3, 3, 40, 56), dtype=torch.uint8, generator=generator)


def made(weights: Path) -> ItemMetric:
    metric = make_metric(f"clip(model={NAME}, pretrained={weights})")
    assert isinstance(metric, ItemMetric)
    metric.check()
    metric.load("cpu")
    return metric


def test_score_equals_open_clip_by_hand(weights: Path, images: torch.Tensor) -> None:
    texts = ["a cat", "two dogs", LONG]
    metric = made(weights)
    with torch.inference_mode():
        metric.prepare(texts)
        found = metric.score(images, [ItemRow(text) for text in texts])
    model, _, preprocess = open_clip.create_model_and_transforms(NAME, pretrained=str(weights))
    pictures = [Image.fromarray(np.moveaxis(image.numpy(), 0, -1)) for image in images]
    with torch.inference_mode():
        seen = model.eval().encode_image(torch.stack([preprocess(p) for p in pictures]))
        said = model.encode_text(open_clip.get_tokenizer(NAME)(texts))
    expected = torch.nn.functional.cosine_similarity(seen, said)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    assert all(-1 <= value <= 1 for value in found if isinstance(value, float))


def test_text_longer_than_the_window_is_noticed(weights: Path) -> None:
    metric = made(weights)
    assert metric.truncates(LONG)
    assert not metric.truncates("a cat")
    # 75 words, a start and an end token fill the window of 77 exactly.
    assert not metric.truncates(" ".join(["cat"] * 75))
    assert metric.truncates(" ".join(["cat"] * 76))


def test_weights_are_part_of_the_identity(weights: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tiny.pt"
    copy.write_bytes(weights.read_bytes())
    metric = make_metric(f"clip(model={NAME}, pretrained={copy})")
    before = metric.identity()
    state = torch.load(copy, weights_only=True)
    torch.save({key: value + 1 for key, value in state.items()}, copy)
    assert make_metric(str(metric.call)).identity() != before


def test_a_tags_activation_and_preprocessing_are_applied(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = {"quick_gelu": True, "mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0)}
    monkeypatch.setattr(OpenClip, "_tag", tag)
    encoder = OpenClip(NAME, str(weights))
    encoder.load("cpu")
    kinds = [type(module).__name__ for module in encoder.network.modules()]
    assert "QuickGELU" in kinds
    assert "GELU" not in kinds
    assert encoder.preprocess.transforms[-1].mean == (0.1, 0.2, 0.3)


def test_a_file_of_another_model_is_refused(weights: Path, tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pt")
    metric = Clip(NAME, str(tmp_path / "other.pt"))
    metric.check()
    with pytest.raises(HarnessError, match=r"other\.pt does not load as weights of harness-tiny"):
        metric.load("cpu")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("model=ViT-L14", "did you mean 'ViT-L-14'"),
        ("pretrained=opnai", "did you mean 'openai'"),
        ("pretrained=/nowhere/w.safetensors", "there is no file /nowhere/w.safetensors"),
    ],
)
def test_wrong_models_and_tags_are_named(params: str, message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        make_metric(f"clip({params})").check()


def test_missing_weights_say_what_to_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HarnessError) as caught:
        make_metric("clip").check()
    message = str(caught.value)
    assert "no route to host" in message
    assert "timm/vit_large_patch14_clip_224.openai (file open_clip_model.safetensors)" in message
    assert "model=ViT-L-14-quickgelu, pretrained=PATH" in message
    assert "\n" not in message
