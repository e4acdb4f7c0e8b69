"""AsynDM's schedules, masks and objects."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from harness.core.errors import HarnessError
from harness.core.objects import ObjectRequest
from harness.engine.batch import Batch
from harness.engine.ensemble import Ensemble
from harness.engine.noise import NoiseStreams
from harness.engine.targets import find_targets
from harness.models.base import Model
from harness.runs.plan import plan
from harness.samplers.asyndm import PixelTimes, of_last_object, pull_map

PROMPTS = ["a red circle and a blue square", "a green star"]


@pytest.fixture(scope="module")
def ensemble(shapes: Model) -> Ensemble:
    return Ensemble(shapes)


def _run(
    ensemble: Ensemble, text: str, rows: slice = slice(0, 1), notes: Any = None, size: int = 64
) -> Batch:
    job = plan("shapes", text, size=(size, size))
    texts = PROMPTS[rows]
    noise = NoiseStreams(range(len(PROMPTS))[rows], (16, size // 8, size // 8), dtype=torch.float32)
    return ensemble.run(job.spec.sampler, texts, [None] * len(texts), noise, notes)


def _path(curve: str, steps: int, pull: float) -> torch.Tensor:
    schedule = PixelTimes(curve, steps, 1000, 1)
    kappa = torch.tensor([pull])
    states = [schedule.beginning(kappa)]
    for left in range(steps, 0, -1):
        states.append(schedule.move(states[-1], left, kappa))
    return torch.cat(states).double()


@pytest.mark.parametrize("pull", [0.0, 0.3, 0.7])
def test_the_three_curves_have_closed_forms(pull: float) -> None:
    u = torch.linspace(0, 1, 51).double()
    forms = {
        "bin": (1 - u) + pull * u * (1 - u),
        "lin": torch.minimum(1 - (1 - pull) * u, (1 + pull) * (1 - u)),
        "exp": (1 - pull) * (1 - u) + pull * (math.e - u.exp()) / (math.e - 1),
    }
    for curve, form in forms.items():
        torch.testing.assert_close(_path(curve, 50, pull), 1 + 1000 * form, atol=5e-3, rtol=0)


@pytest.mark.parametrize(
    ("curve", "steps", "largest"),
    [
        ("bin", 50, 0.943),
        ("bin", 200, 0.703),
        ("bin", 250, 0.627),
        ("lin", 50, 0.924),
        ("lin", 250, 0.624),
        ("exp", 500, 0.598),
    ],
)
def test_too_strong_is_refused_with_the_largest_strength(
    curve: str, steps: int, largest: float
) -> None:
    schedule = PixelTimes(curve, steps, 1000, 1)
    schedule.check(largest - 0.002)
    with pytest.raises(HarnessError, match="at most") as refused:
        schedule.check(largest + 0.002)
    said = float(str(refused.value).split("at most ")[1].split(",")[0])
    assert said == pytest.approx(largest, abs=0.0011)


def test_the_last_named_object_begins_and_the_strongest_rules_where_two_meet() -> None:
    tokens = torch.zeros(1, 3, 9)
    tokens[0, 0, 7] = tokens[0, 1, 4] = 1  # the third is padding
    kappa = torch.tensor([[0.3, 0.5, 0.0]])
    assert of_last_object(tokens, kappa).tolist() == pytest.approx([0.3])
    maps = torch.zeros(1, 9, 2, 2)
    maps[0, 7] = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    maps[0, 4] = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    pull = pull_map(maps, tokens, kappa, 1.0)
    torch.testing.assert_close(pull, torch.tensor([[[[0.5, 0.3], [0.5, 0.0]]]]))


@pytest.mark.parametrize("curve", ["bin", "lin", "exp"])
def test_no_strength_is_ddim(ensemble: Ensemble, curve: str) -> None:
    """With a threshold of 0 every pixel is an object's, yet goes straight; by maps, not scalars."""
    ours = _run(
        ensemble, f"asyndm(steps=5, guidance=5.5, strength=0, threshold=0, curve={curve})"
    ).native
    ddim = _run(ensemble, "ddim(steps=5, guidance=5.5, spacing=leading)").native
    torch.testing.assert_close(ours, ddim, atol=1e-3, rtol=1e-4)


def test_objects_everywhere_are_the_concave_baseline(ensemble: Ensemble) -> None:
    common = "steps=4, strength=0.6, eta=0.5"
    ours = _run(ensemble, f"asyndm({common}, threshold=0)").native
    baseline = _run(ensemble, f"asyndm({common}, mask=everywhere)").native
    torch.testing.assert_close(ours, baseline, atol=1e-3, rtol=1e-4)
    assert float((ours - _run(ensemble, "ddim(steps=4, eta=0.5)").native).abs().max()) > 0.1


@pytest.mark.parametrize("mask", ["dynamic", "static"])
def test_a_sample_does_not_depend_on_its_batch(ensemble: Ensemble, mask: str) -> None:
    """Prompts of a batch have different objects, strengths, and so first levels."""
    notes = [{"objects": ["circle", "square"], "strength": [0.3, 0.7]}, {"objects": ["star"]}]
    text = f"asyndm(steps=4, mask={mask}, eta=0.3, strength=0.5)"
    if mask == "dynamic":
        text = "asyndm(steps=4, eta=0.3)"
    both = _run(ensemble, text, slice(0, 2), notes).native
    for row in range(2):
        alone = _run(ensemble, text, slice(row, row + 1), notes[row : row + 1]).native
        torch.testing.assert_close(alone[0], both[row], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_few_steps_and_guidance_of_one_branch_work(ensemble: Ensemble, steps: int) -> None:
    batch = _run(ensemble, f"asyndm(steps={steps}, guidance=1, mask=static, interval_steps=[0, 0])")
    assert bool(batch.native.isfinite().all())
    counts = {branch: counts[0] for (_, branch), counts in batch.evaluations.items()}
    assert counts == {"cond": 2 * steps, "uncond": 0}


def test_tokens_of_a_words_pieces_are_averaged(ensemble: Ensemble) -> None:
    model: Any = ensemble.model
    about = model, ["a red hat, a zebra"], [{"item_idx": [4, 2], "item_k": [0.3, 0.5]}]
    weights, kappa, strongest = find_targets(*about, ObjectRequest())
    assert strongest == 0.5
    pieces = len(model.pipeline.tokenizer("zebra", add_special_tokens=False).input_ids)
    assert pieces > 1
    torch.testing.assert_close(weights.sum(2), torch.ones(1, 2))
    assert int((weights[0, 0] > 0).sum()) == pieces
    torch.testing.assert_close(kappa, torch.tensor([[0.3, 0.5]]))
    released = find_targets(*about, ObjectRequest(released_tokens=True)).tokens
    assert [int(row.argmax()) for row in released[0]] == [5, 3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("asyndm(steps=4, strength=1)", "less than 1"),
        ("asyndm(steps=300, strength=0.9)", "at most 0.5"),
        ("asyndm(steps=4, guidance=0)", "guidance must not be 0"),
        ("asyndm(steps=4, objects=cat, object_tokens=[1])", "contradict"),
        ("asyndm(steps=4, objects=cat, released_tokens=true)", "released_tokens"),
        ("asyndm(steps=4, spacing=karras)", "spacing=even"),
    ],
)
def test_bad_parameters_are_refused_before_weights(text: str, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        plan("shapes", text)


def test_models_without_levels_per_pixel_are_refused() -> None:
    with pytest.raises(HarnessError, match="needs pixel levels and attention maps, which gmm"):
        plan("gmm", "asyndm(steps=4)")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("asyndm(steps=4, objects=cat)", "'cat' is not in the prompt"),
        ("asyndm(steps=4, object_tokens=[40])", "no token 40 in the prompt"),
        ("asyndm(steps=4, strength=[0.1, 0.2, 0.3])", "3 numbers, but the prompt .* has 2"),
    ],
)
def test_objects_that_are_not_there_are_refused(ensemble: Ensemble, text: str, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        _run(ensemble, text)
