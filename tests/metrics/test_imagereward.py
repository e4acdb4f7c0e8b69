"""ImageReward on transformers' BLIP equals the image-reward package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.core.errors import HarnessError
from harness.metrics.base import ItemMetric, make_metric
from harness.metrics.encoders import ItemRow
from tests.conftest import Certify

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS)]
PROMPTS = ["a cat", "Two  DOGS, an old Café!", " ".join(["long"] * 40)]
SIZES = [(224, 224), (64, 99), (301, 240)]

THEIRS = """
import json, sys, types
folder, package = sys.argv[1:]
import transformers.modeling_utils, timm.layers, timm.models
# Places where later releases of timm keep what this package imports.
hub = types.ModuleType("timm.models.hub")
hub.download_cached_file = None
sys.modules.setdefault("timm.models.hub", hub)
for name, path in (("ImageReward", ""), ("ImageReward.models", "/models")):
    module = types.ModuleType(name)  # without what its __init__ imports: training, OpenAI's clip
    module.__path__ = [f"{package}/ImageReward{path}"]
    sys.modules[name] = module
import torch
from ImageReward.models.BLIP import blip, blip_pretrain
from ImageReward.models.BLIP.vit import VisionTransformer
from transformers import BertTokenizer

def tokenizer():
    return BertTokenizer(f"{folder}/vocab.txt", do_lower_case=True)

def small(vit, image_size, *rest):
    return VisionTransformer(img_size=image_size, patch_size=16, embed_dim=128, depth=3,
                             num_heads=2, drop_path_rate=0.1), 128

blip_pretrain.init_tokenizer = tokenizer
blip_pretrain.create_vit = small
from ImageReward.ImageReward import ImageReward
torch.manual_seed(0)
torch.set_num_threads(1)
model = ImageReward(f"{folder}/med_config.json").eval()
with torch.no_grad():
    for parameter in model.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
torch.save(model.state_dict(), f"{folder}/ImageReward.pt")
prompts = json.load(open(f"{folder}/prompts.json"))
rows = [[model.score(p, f"{folder}/{i}.png") for i in range(3)] for p in prompts]
print(json.dumps(rows))
"""
MED = {
    "architectures": ["BertModel"], "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02,
    "intermediate_size": 256, "layer_norm_eps": 1e-12, "max_position_embeddings": 64,
    "model_type": "bert", "num_attention_heads": 12, "num_hidden_layers": 2, "pad_token_id": 0,
    "add_type_embeddings": False, "vocab_size": 100, "encoder_width": 128,
    "add_cross_attention": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """image-reward 1.5 with a transformers of its time, in a folder of its own."""
    folder = tmp_path_factory.mktemp("package")
    wanted = ["image-reward==1.5", "transformers==4.38.2", "tokenizers>=0.14,<0.19"]
    wanted += ["huggingface-hub>=0.23,<1", "fairscale==0.4.13"]
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(folder)]
    command = [sys.executable, "-m", "pip", "install", *options, *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"image-reward 1.5 cannot be installed here: {done.stderr.strip()[-300:]}")
    return folder


def vocabulary(folder: Path) -> Path:
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder / "vocab.txt"


@pytest.mark.golden
@pytest.mark.slow
def test_score_equals_the_packages(package: Path, tmp_path: Path, certify: Certify) -> None:
    vocabulary(tmp_path)
    (tmp_path / "med_config.json").write_text(json.dumps(MED))
    (tmp_path / "prompts.json").write_text(json.dumps(PROMPTS))
    generator = np.random.default_rng(1)
    pictures = [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    done = subprocess.run(
        [sys.executable, "-c", THEIRS, str(tmp_path), str(package)],
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = json.loads(done.stdout.splitlines()[-1])
    metric = make_metric(
        f"imagereward(checkpoint={tmp_path}/ImageReward.pt, vocabulary={tmp_path}/vocab.txt)"
    )
    assert isinstance(metric, ItemMetric)
    metric.check()
    metric.load("cpu")
    ours = []
    with torch.inference_mode():
        metric.prepare(PROMPTS)
        for picture in pictures:
            images = torch.from_numpy(picture).permute(2, 0, 1).expand(len(PROMPTS), -1, -1, -1)
            ours.append(metric.values(images, [ItemRow(prompt) for prompt in PROMPTS]))
    # Two libraries' float32 attention, batched here and one by one there.
    certify(
        "metric imagereward", np.transpose(ours), theirs, atol=1e-5, reference="image-reward 1.5"
    )
    assert np.std(theirs) > 1e-2


def test_tokens_are_cut_at_35_with_start_and_end(tmp_path: Path) -> None:
    path = vocabulary(tmp_path)
    (tmp_path / "any.pt").touch()
    metric = make_metric(f"imagereward(checkpoint={tmp_path}/any.pt, vocabulary={path})")
    assert isinstance(metric, ItemMetric)
    assert not metric.truncates(" ".join("a" * 33))
    assert metric.truncates(" ".join("a" * 34))
    metric.prepare(["B!"])
    ids, mask = metric.tokens["B!"]  # type: ignore[attr-defined]
    assert [WORDS[i] for i in ids[:4]] == ["[CLS]", "b", "!", "[SEP]"]
    assert (len(ids), sum(mask)) == (35, 4)


def test_wrong_and_absent_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = vocabulary(tmp_path)
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HarnessError, match=r"THUDM/ImageReward \(file ImageReward\.pt\)"):
        make_metric("imagereward").check()
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(HarnessError, match=r"bert-base-uncased \(file vocab\.txt\)"):
        make_metric(f"imagereward(checkpoint={tmp_path}/other.pt)").check()
    metric = make_metric(f"imagereward(checkpoint={tmp_path}/other.pt, vocabulary={path})")
    metric.check()
    with pytest.raises(HarnessError, match=r"other\.pt does not load as the ImageReward weights"):
        metric.load("cpu")
