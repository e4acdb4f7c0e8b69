"""The CLIP score equals open_clip used by hand; missing weights are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from harness.core.errors import HarnessError
from harness.metrics.base import ItemMetric, make_metric, make_metrics
from harness.metrics.clip import Clip
from harness.metrics.encoders import ItemRow
from harness.metrics.open_clip_encoder import OpenClip
from harness.metrics.pickscore import clip_tokenizer
from tests.conftest import Certify, misaligned

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
        found = metric.values(images, [ItemRow(text) for text in texts])
    model, _, preprocess = open_clip.create_model_and_transforms(NAME, pretrained=str(weights))
    pictures = [Image.fromarray(np.moveaxis(image.numpy(), 0, -1)) for image in images]
    with torch.inference_mode():
        seen = model.eval().encode_image(torch.stack([preprocess(p) for p in pictures]))
        said = model.encode_text(open_clip.get_tokenizer(NAME)(texts))
    expected = torch.nn.functional.cosine_similarity(seen, said)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    assert all(-1 <= value <= 1 for value in found if isinstance(value, float))


def test_weights_lie_aligned(weights: Path) -> None:
    mapped = weights.with_suffix(".safetensors")
    safetensors.torch.save_file(torch.load(weights), mapped)
    encoder = OpenClip(NAME, str(mapped))
    encoder.setup("cpu")
    assert not misaligned(encoder.network)


def as_open_clip(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a transformers CLIPModel under open_clip's names."""
    block = {
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "self_attn.out_proj": "attn.out_proj",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    whole = {
        "logit_scale": "logit_scale",
        "visual_projection.weight": "visual.proj",
        "text_projection.weight": "text_projection",
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "vision_model.embeddings.class_embedding": "visual.class_embedding",
        "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
        "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    }
    for kind in ("weight", "bias"):
        whole[f"text_model.final_layer_norm.{kind}"] = f"ln_final.{kind}"
        whole[f"vision_model.pre_layrnorm.{kind}"] = f"visual.ln_pre.{kind}"
        whole[f"vision_model.post_layernorm.{kind}"] = f"visual.ln_post.{kind}"
    found = {}
    for name, value in state.items():
        if name in whole:
            found[whole[name]] = value.T if "projection" in name else value
        elif ".layers." in name:
            tower, rest = name.split("_model.encoder.layers.")
            number, inner = rest.split(".", 1)
            prefix = "visual.transformer" if tower == "vision" else "transformer"
            part, kind = inner.rsplit(".", 1)
            if part in block:
                found[f"{prefix}.resblocks.{number}.{block[part]}.{kind}"] = value
            elif part == "self_attn.q_proj":
                three = [state[name.replace("q_proj", f"{x}_proj")] for x in "qkv"]
                found[f"{prefix}.resblocks.{number}.attn.in_proj_{kind}"] = torch.cat(three)
    return found


@pytest.mark.golden
def test_torchmetrics_scale_equals_its_clip_score(
    weights: Path, images: torch.Tensor, tmp_path: Path, certify: Certify
) -> None:
    import transformers
    from torchmetrics.functional.multimodal.clip_score import _clip_score_update
    from torchmetrics.multimodal import CLIPScore

    class AsBefore(transformers.CLIPModel):
        """With features as transformers 4 returned them, which torchmetrics expects."""

        def get_image_features(self, *args: Any, **kwargs: Any) -> Any:
            found = super().get_image_features(*args, **kwargs)
            return getattr(found, "pooler_output", found)

        def get_text_features(self, *args: Any, **kwargs: Any) -> Any:
            found = super().get_text_features(*args, **kwargs)
            return getattr(found, "pooler_output", found)

    tower = {
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_act": "gelu",
    }
    config = transformers.CLIPConfig(
        text_config={**tower, "bos_token_id": 49406, "eos_token_id": 49407},
        vision_config={**tower, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = AsBefore(config).eval()
        for parameter in network.parameters():  # as large as after training
            parameter.data += 0.2 * torch.randn_like(parameter)
    torch.save(as_open_clip(network.state_dict()), tmp_path / "same.pt")
    kind = getattr(transformers, "CLIPImageProcessorPil", transformers.CLIPImageProcessor)
    sides = {"height": 32, "width": 32}
    processor = transformers.CLIPProcessor(
        image_processor=kind(size={"shortest_edge": 32}, crop_size=sides),
        tokenizer=clip_tokenizer(),
    )
    theirs = CLIPScore(model_name_or_path=lambda: (network, processor))
    texts = ["a cat", "two dogs, 3 birds", "an old café"]
    which = f"model={NAME}, pretrained={tmp_path}/same.pt"
    cosine, scaled = make_metrics([f"clip({which})", f"clip({which}, scale=torchmetrics)"])
    assert isinstance(cosine, ItemMetric)
    assert isinstance(scaled, ItemMetric)
    rows = [ItemRow(text) for text in texts]
    images = torch.cat([images, 255 - images // 8])
    pairs = [(image[None], row) for image in images for row in rows]
    ours = []
    with torch.inference_mode():
        for metric in (cosine, scaled):
            metric.load("cpu")
            metric.prepare(texts)
            ours.append([metric.values(image, [row])[0] for image, row in pairs])
        single, _ = _clip_score_update(
            [image[0] for image, _ in pairs],
            [row.prompt for _, row in pairs],
            theirs.model,
            theirs.processor,
        )
    # of 100: two libraries' float32 networks and preprocessing
    certify("metric clip", ours[0], single / 100, atol=2e-6, reference="torchmetrics")
    what = "metric clip(scale=torchmetrics)"
    certify(what, ours[1], single.clamp(min=0), atol=2e-4, reference="torchmetrics")
    assert float(single.max()) > 1
    assert float(single.min()) < -1


def test_the_row_of_the_restart_paper() -> None:
    metric = make_metric("clip-g")
    assert metric.params["model"] == "ViT-g-14"
    assert ("ViT-g-14", metric.params["pretrained"]) in open_clip.list_pretrained()
    assert metric.label == "clip-g"


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


def tagged(monkeypatch: pytest.MonkeyPatch, **tags: dict[str, Any]) -> None:
    """As if open_clip knew weights of the tiny model by these tags."""
    from open_clip.pretrained import _PRETRAINED, _pcfg

    known = {tag: _pcfg(url=f"https://example.org/{tag}.pt", **of) for tag, of in tags.items()}
    monkeypatch.setitem(_PRETRAINED, NAME, known)


WHITE = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
SHARED = "clip", "aesthetic", "fd-clip", "cmmd", "diversity-clip"


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("tag", ["openai", "laion"])
def test_weights_by_file_give_what_they_give_by_tag(
    name: str, tag: str, weights: Path, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagged(monkeypatch, openai={"quick_gelu": True}, laion=WHITE)
    monkeypatch.setattr(OpenClip, "_fetch", lambda self: str(weights))

    def features(pretrained: str) -> torch.Tensor:
        encoder = make_metric(f"{name}(model={NAME}, pretrained={pretrained})").encoder
        assert encoder is not None
        encoder.check()
        encoder.load("cpu")
        with torch.inference_mode():
            return encoder.encode(images)

    by_tag = features(tag)
    assert torch.equal(features(f"{tag}:{weights}"), by_tag)
    # a file alone is OpenAI's; neither setting is without effect
    assert torch.equal(features(str(weights)), by_tag) is (tag == "openai")


def test_a_score_by_file_is_the_score_by_hand_with_openais_activation(
    weights: Path, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagged(monkeypatch, openai={"quick_gelu": True})
    metric = made(weights)
    with torch.inference_mode():
        metric.prepare(["a cat"])
        found = metric.values(images[:1], [ItemRow("a cat")])
    picture = Image.fromarray(np.moveaxis(images[0].numpy(), 0, -1))
    expected = {}
    for quick in (True, False):
        model, _, preprocess = open_clip.create_model_and_transforms(
            NAME, pretrained=str(weights), force_quick_gelu=quick
        )
        with torch.inference_mode():
            seen = model.eval().encode_image(preprocess(picture)[None], normalize=True)
            said = model.encode_text(open_clip.get_tokenizer(NAME)(["a cat"]), normalize=True)
        expected[quick] = float((seen * said).sum())
    assert found == pytest.approx([expected[True]], abs=1e-6)
    assert abs(expected[True] - expected[False]) > 1e-5


@pytest.mark.parametrize("name", [*SHARED, "clip-g"])
def test_a_file_stands_for_the_tag_that_a_metric_takes_by_default(
    name: str, tmp_path: Path
) -> None:
    """By the real models' tags; the network is never built."""
    (tmp_path / "any.pt").touch()
    by_tag = make_metric(name).encoder
    by_file = make_metric(f"{name}(pretrained={tmp_path}/any.pt)").encoder
    assert isinstance(by_tag, OpenClip)
    assert isinstance(by_file, OpenClip)
    keys = ("quick_gelu", "mean", "std", "interpolation", "resize_mode")
    assert by_tag._tag
    for key in keys:
        assert by_file._tag.get(key) == by_tag._tag.get(key), key


def test_what_is_assumed_of_a_file_is_said_where_it_matters(
    weights: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tagged(monkeypatch, openai={"quick_gelu": True}, laion=WHITE)
    assert OpenClip(NAME, str(weights)).checkpoint == str(weights)
    assert "is taken for weights of harness-tiny (openai)" in caplog.text
    assert "pretrained=TAG:FILE" in caplog.text
    caplog.clear()
    assert OpenClip(NAME, f"laion:{weights}").checkpoint == str(weights)
    tagged(monkeypatch, openai={"quick_gelu": True}, other={"quick_gelu": True})
    assert OpenClip(NAME, str(weights)).checkpoint == str(weights)
    assert not caplog.text


def test_a_files_tag_is_part_of_the_identity_where_it_changes_scores(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"clip(model={NAME}, pretrained={weights})"
    plain = make_metric(text).identity()
    tagged(monkeypatch, laion={})
    assert make_metric(text).identity() == plain
    tagged(monkeypatch, openai={"quick_gelu": True})
    assert make_metric(text).identity() != plain
    tagged(monkeypatch, laion=WHITE)
    assert make_metric(text).identity() != plain


def test_mistakes_in_a_files_tag_are_named(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tagged(monkeypatch, openai={"quick_gelu": True})
    with pytest.raises(HarnessError, match=r"pretrained tag 'opnai' .*did you mean 'openai'"):
        OpenClip(NAME, f"opnai:{weights}").check()
    with pytest.raises(HarnessError, match=r"there is no file /nowhere/w\.pt with weights"):
        OpenClip(NAME, "openai:/nowhere/w.pt").check()


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
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HarnessError) as caught:
        make_metric("clip").check()
    message = str(caught.value)
    assert "no route to host" in message
    assert "timm/vit_large_patch14_clip_224.openai (file open_clip_model.safetensors)" in message
    assert "model=ViT-L-14, pretrained=openai:PATH" in message
    assert "\n" not in message
