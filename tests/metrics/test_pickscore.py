"""PickScore is its published formula on transformers' CLIPModel and processor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.core.errors import HarnessError
from harness.metrics.base import ItemMetric, make_metric
from harness.metrics.encoders import ItemRow
from harness.metrics.pickscore import PickScoreEncoder, clip_tokenizer
from tests.conftest import Certify, misaligned

transformers = pytest.importorskip("transformers")

LONG = " ".join(["a very long prompt"] * 40)
PROMPTS = ["a cat", "Two  DOGS &amp; a café — “naïve”, 12 o'clock", LONG]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random CLIPModel in the files of the published one."""
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    tower |= {"num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**tower, "hidden_act": "gelu", "bos_token_id": 0, "eos_token_id": 2},
        vision_config={**tower, "hidden_act": "gelu", "image_size": 56, "patch_size": 14},
        projection_dim=24,
        logit_scale_init_value=4.6,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.CLIPModel(config)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    made = tmp_path_factory.mktemp("pickscore")
    model.save_pretrained(made)
    return made


def scorer(folder: Path) -> ItemMetric:
    metric = make_metric(f"pickscore(folder={folder})")
    assert isinstance(metric, ItemMetric)
    metric.check()
    metric.load("cpu")
    return metric


@pytest.mark.golden
def test_score_is_the_published_formula(folder: Path, certify: Certify) -> None:
    metric = scorer(folder)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    sides = {"height": 56, "width": 56}
    kind = getattr(transformers, "CLIPImageProcessorPil", transformers.CLIPImageProcessor)
    processor = transformers.CLIPProcessor(
        image_processor=kind(size={"shortest_edge": 56}, crop_size=sides),
        tokenizer=clip_tokenizer(),
    )
    generator = np.random.default_rng(0)
    ours, theirs = [], []
    with torch.inference_mode():
        metric.prepare(PROMPTS)
        for size in [(56, 56), (64, 99), (130, 57)]:
            pictures = generator.integers(0, 256, (3, *size, 3), dtype=np.uint8)
            images = torch.from_numpy(pictures).permute(0, 3, 1, 2)
            ours.append(metric.values(images, [ItemRow(prompt) for prompt in PROMPTS]))
            for picture, prompt in zip(pictures, PROMPTS, strict=True):
                inputs = processor(
                    images=Image.fromarray(picture), text=prompt, padding=True, truncation=True,
                    max_length=77, return_tensors="pt",
                )  # fmt: skip
                theirs.append(float(model(**inputs).logits_per_image))
    what = "transformers: the model card's formula"
    certify("metric pickscore", np.ravel(ours), theirs, atol=1e-4, reference=what)
    assert np.std(theirs) > 1


def test_weights_lie_aligned(folder: Path) -> None:
    encoder = PickScoreEncoder(str(folder))
    encoder.setup("cpu")
    assert not misaligned(encoder.model)


def test_tokens_are_those_of_clip() -> None:
    import open_clip

    tokenizer, reference = clip_tokenizer(), open_clip.get_tokenizer("ViT-H-14")
    for text in ["a cat", "Two  dogs' 12 o'clock, naïve—café! 日本", "x" * 30]:
        ids = tokenizer(text)["input_ids"]
        assert ids == reference([text])[0, : len(ids)].tolist()


def test_truncated_prompts_are_noticed(folder: Path) -> None:
    metric = scorer(folder)
    assert [metric.truncates(prompt) for prompt in PROMPTS] == [False, False, True]
    assert not metric.truncates(" ".join(["cat"] * 75))
    assert metric.truncates(" ".join(["cat"] * 76))


def test_wrong_and_absent_files_are_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HarnessError, match=r"holds no config\.json"):
        make_metric(f"pickscore(folder={tmp_path})").check()
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"none")
    with pytest.raises(HarnessError, match="does not load as a CLIPModel"):
        scorer(tmp_path)
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HarnessError) as caught:
        make_metric("pickscore").check()
    message = str(caught.value)
    assert "yuvalkirstain/PickScore_v1 (files config.json and model.safetensors)" in message
    assert "name the folder as a parameter: pickscore(folder=PATH)" in message
