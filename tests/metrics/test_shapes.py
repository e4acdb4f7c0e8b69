"""The embedded world's metrics: graded by its judge in one pass, null elsewhere."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.layout import Layout
from harness.core.run_spec import RunSpec
from harness.core.shards import Prompt, item_id, plan_shards
from harness.evaluation import evaluate, set_score
from harness.metrics import shapes_clip, shapes_judge
from harness.metrics.base import ItemMetric, make_metric
from harness.metrics.encoders import ItemRow
from harness.metrics.references import read_reference
from harness.store import schema
from harness.store.run import Run
from harness.world import judge as world_judge
from harness.world.draw import draw
from harness.world.grade import Seen
from harness.world.grammar import CATEGORIES, held_out_captions
from harness.world.judge import Judgement
from harness.world.scenes import scene

RED_CIRCLE = Seen("red", "circle", 20.0, 32.0, 9.0)


class FakeJudge:
    """Sees one red circle on black everywhere, and counts its passes."""

    passes = 0

    def to(self, device: str) -> FakeJudge:
        return self

    def look(self, pictures: torch.Tensor) -> Judgement:
        FakeJudge.passes += 1
        features = pictures.float().flatten(2).std(2)
        features = torch.cat([features, torch.zeros(len(pictures), 61)], 1)
        return Judgement([[RED_CIRCLE]] * len(pictures), ["black"] * len(pictures), features)


@pytest.fixture
def fake_judge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights = tmp_path / "judge.safetensors"
    weights.write_bytes(b"fake")
    reference = tmp_path / "reference.npz"
    np.savez(reference, mu=np.zeros(64), sigma=np.eye(64), n=1000)
    monkeypatch.setattr(world_judge, "WEIGHTS", weights)
    monkeypatch.setattr(world_judge, "load_judge", FakeJudge)
    monkeypatch.setattr(shapes_judge, "data_path", lambda name: reference)
    FakeJudge.passes = 0


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.moveaxis(pixels, 0, -1)).save(buffer, "png")
    return buffer.getvalue()


def make_run(path: Path, captions: Sequence[str], pictures: Sequence[np.ndarray]) -> Run:
    prompts = [Prompt(f"p{i:03d}", caption) for i, caption in enumerate(captions)]
    run = Run.create(str(path), RunSpec("x", Call("x"), (64, 64), "float32", "item"), {}, {})
    shown = dict(zip([prompt.id for prompt in prompts], pictures, strict=True))
    for shard in plan_shards(prompts, [0], Layout(64, 64)):
        rows = [
            {
                "item_id": item_id(p.id, 0),
                "prompt_id": p.id,
                "prompt": p.text,
                "seed": 0,
                "image": {"bytes": png(shown[p.id]), "path": None},
            }
            for p in shard.prompts
        ]
        run.write("images", shard.name, pa.Table.from_pylist(rows, schema.IMAGES), shard.items_key)
    return run


def drawings(per_category: int) -> tuple[list[str], list[np.ndarray]]:
    """Held-out captions of all categories and a drawing of each."""
    rng = np.random.default_rng(7)
    captions = [c for name in CATEGORIES for c in held_out_captions(name)[:per_category]]
    return captions, [draw(scene(caption, rng)) for caption in captions]


@pytest.mark.usefixtures("fake_judge")
def test_one_pass_of_the_judge_serves_three_metrics(tmp_path: Path) -> None:
    captions = ["a red circle", "a red circle on a white background", "two red circles", "a cat"]
    run = make_run(tmp_path / "run", captions, [np.full((3, 64, 64), 9, np.uint8)] * 4)
    report = evaluate(run, ["shapes-alignment", "shapes-exact", "shapes-fd"])
    assert FakeJudge.passes == 1
    graded = run.frame("scores/shapes-alignment").set_index("item_id")
    exact = run.frame("scores/shapes-exact").set_index("item_id")
    # Demands: exists + total; exists + background + total; count + total.
    assert graded.value[:3].tolist() == pytest.approx([1, 2 / 3, 0])
    assert exact.value[:3].tolist() == [1, 0, 0]
    assert graded.reason["p003/0"] == exact.reason["p003/0"] == "not a caption of the shapes world"
    assert report.outcomes["shapes-exact"].scored == 3
    score = set_score(run, "shapes-fd")
    assert (score.value, score.n, score.excluded) == (None, 3, 1)
    few = set_score(run, "shapes-fd(allow_few=true)")
    assert few.value == pytest.approx(64)


@pytest.mark.usefixtures("fake_judge")
def test_a_class_is_graded_by_the_caption_in_its_notes() -> None:
    rows = [
        ItemRow("class 0", notes={"caption": "a red circle"}),
        ItemRow("class 1", notes={"caption": "a red square"}),
        ItemRow("a red circle", notes={"caption": "a photograph of a street"}),
    ]
    metric = make_metric("shapes-exact")
    assert isinstance(metric, ItemMetric)
    metric.load("cpu")
    assert [metric.unsuitable(row, (32, 32)) for row in rows] == [None] * 3
    assert metric.score(torch.zeros(3, 3, 32, 32, dtype=torch.uint8), rows) == [1, 0, 1]
    assert metric.unsuitable(ItemRow("class 0"), (32, 32)) == "not a caption of the shapes world"


def test_drawings_of_classes_have_a_reference_of_their_own() -> None:
    classes, captions = (
        make_metric(f"shapes-fd(reference={name})") for name in ("classes", "captions")
    )
    assert classes.statistic().reference.n != captions.statistic().reference.n  # type: ignore[attr-defined]
    with pytest.raises(HarnessError, match="reference"):
        make_metric("shapes-fd(reference=cats)")


@pytest.mark.usefixtures("fake_judge")
def test_a_reference_of_another_judge_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    metric = make_metric("shapes-fd")
    metric.check()
    other = tmp_path / "other.npz"
    np.savez(other, mu=np.zeros(64), sigma=np.eye(64), n=1000, judge="0" * 64)
    monkeypatch.setattr(shapes_judge, "data_path", lambda name: other)
    with pytest.raises(HarnessError, match="another judge"):
        metric.check()


def test_missing_weights_say_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(world_judge, "WEIGHTS", tmp_path / "none")
    monkeypatch.setattr(shapes_clip, "dual_encoder_folder", lambda: tmp_path)
    for name, module in (("shapes-exact", "train.judge"), ("shapes-clip", "train.dual")):
        with pytest.raises(HarnessError, match=module):
            make_metric(name).check()


@pytest.fixture
def tiny_dual_encoder(tmp_path: Path) -> Path:
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    words = ["a", "red", "circle", "blue", "star"]
    vocab = {f"{word}</w>": i for i, word in enumerate(words)}
    vocab |= {"<|startoftext|>": 5, "<|endoftext|>": 6}
    merges: list[tuple[str, str]] = []
    for word in words:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        vocab |= {letter: len(vocab) for letter in parts if letter not in vocab}
        for i in range(1, len(parts)):
            left, right = "".join(parts[:i]), parts[i]
            vocab.setdefault(left, len(vocab))
            vocab.setdefault(right, len(vocab))
            merges.append((left, right))
    vocab = {token: i for i, token in enumerate(vocab)}
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=8)
    text = {"vocab_size": len(vocab), "hidden_size": 16, "intermediate_size": 16}
    text |= {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 8}
    text |= {"bos_token_id": 5, "eos_token_id": 6, "pad_token_id": 6}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 64, "patch_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
        CLIPModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_dual_encoder_score_is_the_cosine_of_the_clip_model(
    tiny_dual_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import CLIPModel, CLIPTokenizer

    monkeypatch.setattr(shapes_clip, "dual_encoder_folder", lambda: tiny_dual_encoder)
    metric = make_metric("shapes-clip")
    assert isinstance(metric, ItemMetric)
    metric.check()
    metric.load("cpu")
    captions = ["a red circle", "a blue star"]
    pictures = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), np.uint8)
    images = torch.from_numpy(pictures)
    with torch.inference_mode():
        metric.prepare(captions)
        found = metric.values(images, [ItemRow(caption) for caption in captions])
        model = CLIPModel.from_pretrained(tiny_dual_encoder).eval()
        words = CLIPTokenizer.from_pretrained(tiny_dual_encoder)
        ids = words(captions, padding="max_length", return_tensors="pt")["input_ids"]
        out = model(input_ids=ids, pixel_values=images.float() / 127.5 - 1)
        expected = (out.logits_per_image / model.logit_scale.exp()).diagonal()
    assert expected[0] != pytest.approx(expected[1])
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "least", "gap"),
    [
        ("shapes-alignment", 0.98, 0.3),
        ("shapes-exact", 0.95, 0.85),
        ("shapes-clip", 0.0, 0.2),
    ],
)
def test_drawings_fit_their_own_captions_and_not_others(
    name: str, least: float, gap: float
) -> None:
    captions, pictures = drawings(8)
    metric = make_metric(name)
    assert isinstance(metric, ItemMetric)
    metric.check()
    metric.load("cpu")
    images = torch.from_numpy(np.stack(pictures))
    with torch.inference_mode():
        metric.prepare(captions)
        own = metric.values(images, [ItemRow(c) for c in captions])
        others = metric.values(images, [ItemRow(c) for c in captions[8:] + captions[:8]])
    assert np.mean(own) >= least  # type: ignore[arg-type]
    assert np.mean(own) - np.mean(others) >= gap  # type: ignore[arg-type]


def test_varied_drawings_are_nearer_to_the_reference_than_one_repeated(tmp_path: Path) -> None:
    captions, pictures = drawings(30)
    values = []
    for name, shown in (("varied", pictures), ("same", pictures[:1] * len(pictures))):
        run = make_run(tmp_path / name, captions, shown)
        evaluate(run, ["shapes-fd"])
        score = set_score(run, "shapes-fd")
        assert score.n == 150
        assert score.value is not None
        assert score.low is not None
        assert score.high is not None
        values.append((score.low, score.value, score.high))
    varied, collapsed = values
    assert varied[2] < collapsed[0]


def test_the_embedded_reference_is_sound() -> None:
    from harness.core.data import data_path

    reference = read_reference(data_path(shapes_judge.REFERENCES["captions"]))
    assert reference.mu.shape == (64,)
    assert reference.n >= 20_000
    np.testing.assert_allclose(reference.sigma, reference.sigma.T, atol=1e-8)
    assert np.linalg.eigvalsh(reference.sigma).min() >= -1e-8
