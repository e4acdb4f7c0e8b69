"""The judge's accuracy on fresh drawings, and its features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.world import grammar
from harness.world.draw import draw
from harness.world.scenes import any_scene, training_scene

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def drawings() -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(5)
    scenes, captions = zip(*(any_scene(rng) for _ in range(200)), strict=True)
    return np.stack([draw(scene) for scene in scenes]), list(captions)


def test_the_judge_reads_fresh_drawings(drawings: tuple[np.ndarray, list[str]]) -> None:
    from harness.world.judge import grades, load_judge

    pictures, captions = drawings
    judgement = load_judge().look(torch.from_numpy(pictures))
    exact = [e for _, e in grades(judgement, [grammar.parse(c) for c in captions])]
    assert np.mean(exact) >= 0.98
    assert judgement.features.shape == (200, 64)
    assert judgement.features.isfinite().all()


def test_the_judge_refuses_wrong_pictures(drawings: tuple[np.ndarray, list[str]]) -> None:
    from harness.world.judge import grades, load_judge

    pictures, captions = drawings
    judgement = load_judge().look(torch.from_numpy(pictures))
    other = [grammar.parse(captions[i - 1]) for i in range(len(captions))]
    assert np.mean([e for _, e in grades(judgement, other)]) < 0.1
    blank = load_judge().look(torch.full((2, 3, 64, 64), 128, dtype=torch.uint8))
    assert blank.objects == [[], []]
    assert blank.backgrounds == ["gray", "gray"]


def test_judging_does_not_depend_on_the_batch(drawings: tuple[np.ndarray, list[str]]) -> None:
    from harness.world.judge import load_judge

    pictures = torch.from_numpy(drawings[0][:9])
    whole, parts = load_judge().look(pictures), load_judge().look(pictures, batch=4)
    assert [[s.name for s in seen] for seen in whole.objects] == [
        [s.name for s in seen] for seen in parts.objects
    ]
    assert torch.allclose(whole.features, parts.features, atol=1e-4)


def test_the_dual_encoder_loads_offline_and_prefers_the_true_caption() -> None:
    from transformers import CLIPModel, CLIPTokenizer

    folder = Path(grammar.__file__).parent / "weights" / "dual_encoder"
    model = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
    words = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    rng = np.random.default_rng(6)
    scenes, captions = zip(*(training_scene(rng) for _ in range(60)), strict=True)
    pixels = torch.from_numpy(np.stack([draw(s) for s in scenes])).float() / 127.5 - 1
    ids = words(list(captions), padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model(input_ids=ids, pixel_values=pixels).logits_per_image
    assert (logits.argmax(1) == torch.arange(60)).float().mean() > 0.6
