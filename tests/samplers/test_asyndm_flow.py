"""AsynDM on Stable Diffusion 3, for which no reference code exists: on tiny random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from harness.core.errors import HarnessError
from harness.core.objects import ObjectRequest
from harness.engine.batch import Batch
from harness.engine.ensemble import Ensemble
from harness.engine.noise import NoiseStreams
from harness.engine.targets import find_targets
from harness.models.load import load
from harness.models.pipelines.flow import FlowSchedule
from harness.runs.plan import plan
from harness.samplers.asyndm import PixelTimes
from tests.models.tiny_pipelines import hunyuan_dit, stable_diffusion_3

PROMPTS = ["a red cat on the house", "blue dog"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("sd3")
    stable_diffusion_3().save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def ensemble(folder: str) -> Ensemble:
    return Ensemble(load(folder))


def _run(
    ensemble: Ensemble,
    folder: str,
    text: str,
    rows: slice = slice(0, 2),
    size: tuple[int, int] = (64, 64),
    notes: Any = None,
) -> Batch:
    job = plan(folder, text, size=size)
    texts = PROMPTS[rows]
    shape = (4, size[0] // 8, size[1] // 8)
    noise = NoiseStreams(range(len(PROMPTS))[rows], shape, dtype=torch.float64)
    return ensemble.run(job.spec.sampler, texts, [None] * len(texts), noise, notes)


@pytest.mark.parametrize("steps", [1, 2, 3, 6])
def test_without_strength_it_is_the_ordinary_run(
    ensemble: Ensemble, folder: str, steps: int
) -> None:
    """The straight line is the model's own ladder, the pipeline's."""
    ours = _run(ensemble, folder, f"asyndm(steps={steps}, guidance=4, strength=0)")
    ddim = _run(ensemble, folder, f"ddim(steps={steps}, guidance=4)")
    torch.testing.assert_close(ours.native, ddim.native, atol=1e-5, rtol=0)
    assert ours.evaluations == ddim.evaluations
    assert bool(ours.native.isfinite().all())


@pytest.mark.parametrize("curve", ["bin", "lin", "exp"])
def test_objects_everywhere_are_the_concave_baseline(
    ensemble: Ensemble, folder: str, curve: str
) -> None:
    common = f"steps=5, guidance=4, strength=0.6, curve={curve}"
    ours = _run(ensemble, folder, f"asyndm({common}, threshold=0)").native
    baseline = _run(ensemble, folder, f"asyndm({common}, mask=everywhere)").native
    torch.testing.assert_close(ours, baseline, atol=1e-4, rtol=0)
    assert float((ours - _run(ensemble, folder, "ddim(steps=5)").native).abs().max()) > 0.01


@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
@pytest.mark.parametrize("mask", ["dynamic", "static"])
def test_objects_lag_behind_and_the_rest_keeps_its_pace(
    ensemble: Ensemble, folder: str, mask: str, size: tuple[int, int]
) -> None:
    model: Any = ensemble.model
    seen: list[torch.Tensor] = []
    evaluate = model.evaluate

    def watched(z: Any, timestep: torch.Tensor, condition: Any) -> Any:
        seen.append(timestep)
        return evaluate(z, timestep, condition)

    model.evaluate = watched
    try:
        text = f"asyndm(steps=6, guidance=1, mask={mask}, objects=cat)"
        batch = _run(ensemble, folder, text, slice(0, 1), size)
    finally:
        del model.evaluate
    usual = model.time_of(model.ladder(6))[:-1].float()
    runs = [time.flatten() for time in seen[-6:]]
    assert [len(time) for time in seen[:-6]] == [1] * (6 if mask == "static" else 0)
    assert all(float(time.min()) >= float(t) - 1e-3 for time, t in zip(runs, usual, strict=True))
    assert runs[0].unique().tolist() == [1000]  # all begin with pure noise
    assert any(len(time.unique()) > 1 for time in runs)
    if mask == "static":  # what is no object is never held back
        assert all(
            float(time.min()) == pytest.approx(float(t), abs=1e-2)
            for time, t in zip(runs, usual, strict=True)
        )
    assert bool(batch.native.isfinite().all())
    maps = [time for time in seen if time.ndim == 3]
    assert all(bool((time[:, ::2, ::2] == time[:, 1::2, 1::2]).all()) for time in maps)


@pytest.mark.parametrize("curve", ["bin", "lin", "exp"])
def test_curves_start_and_end_with_the_ladder(curve: str) -> None:
    schedule = PixelTimes(curve, 40, 40, 0)
    pull = torch.tensor([0.0, 0.4, 0.95])
    states = [schedule.beginning(pull)]
    for left in range(40, 0, -1):
        states.append(schedule.move(states[-1], left, pull))
    path = torch.stack(states)
    torch.testing.assert_close(path[:, 0], torch.arange(40.0, -1, -1))
    torch.testing.assert_close(path[-1], torch.zeros(3), atol=1e-5, rtol=0)
    assert bool((path.diff(dim=0) < 1e-5).all())
    assert bool((path[1:-1].diff(dim=1) > 0).all())


@pytest.mark.parametrize("mask", ["dynamic", "static"])
def test_a_sample_does_not_depend_on_its_batch(ensemble: Ensemble, folder: str, mask: str) -> None:
    notes = [{"objects": ["cat", "house"], "strength": [0.3, 0.8]}, {"objects": ["dog"]}]
    text = f"asyndm(steps=4, guidance=4, mask={mask}, eta=0.4)"
    both = _run(ensemble, folder, text, notes=notes).native
    for row in range(2):
        rows = slice(row, row + 1)
        alone = _run(ensemble, folder, text, rows, notes=notes[rows]).native
        torch.testing.assert_close(alone[0], both[row], atol=1e-4, rtol=0)


def test_an_object_is_half_in_clips_text_and_half_in_t5s(ensemble: Ensemble, folder: str) -> None:
    model: Any = ensemble.model
    asked = ObjectRequest("cat, house")
    weights, kappa, _ = find_targets(model, PROMPTS[:1], [{}], asked)
    assert weights.shape == (1, 2, 77 + 256)
    assert model.encode(PROMPTS[:1])["text"].shape[1] == 77 + 256
    torch.testing.assert_close(weights[..., :77].sum(2), torch.full((1, 2), 0.5))
    torch.testing.assert_close(weights[..., 77:].sum(2), torch.full((1, 2), 0.5))
    words = model.pipeline.tokenizer_3.convert_ids_to_tokens(
        model.pipeline.tokenizer_3(PROMPTS[0]).input_ids
    )
    chosen = [words[int(row.argmax())] for row in weights[0, :, 77:]]
    assert [word.strip("▁") for word in chosen] == ["cat", "house"]
    torch.testing.assert_close(kappa, torch.full((1, 2), 0.7))
    numbered = find_targets(model, PROMPTS[:1], [{}], ObjectRequest(tokens=[2])).tokens
    assert numbered.nonzero().tolist() == [[0, 0, 3]]
    late = "a " * 100 + "cat"  # behind what CLIP reads
    cut = find_targets(model, [late], [{}], ObjectRequest("cat")).tokens
    assert float(cut[..., :77].sum()) == 0
    assert float(cut[0, 0, 77 + 100]) == 1


def test_without_t5_an_object_is_in_clips_text(folder: str) -> None:
    model: Any = load(f"{folder}(text_encoder_3=none)")
    weights = find_targets(model, PROMPTS[:1], [{}], ObjectRequest("cat")).tokens
    assert weights.shape == (1, 1, 77 + 256)
    torch.testing.assert_close(weights[..., :77].sum(), torch.tensor(1.0))
    batch = _run(Ensemble(model), folder, "asyndm(steps=3, guidance=4, objects=cat)", slice(0, 1))
    assert bool(batch.native.isfinite().all())


def test_every_strength_goes_on_a_flow_and_its_own_ladder_only(folder: str) -> None:
    plan(folder, "asyndm(steps=250, strength=0.99)")
    with pytest.raises(HarnessError, match="spacing=even"):
        plan(folder, "asyndm(steps=4, spacing=trailing)")
    schedule = FlowSchedule(3.0, 0.001, 1000)
    assert torch.equal(schedule.ladder(5, "even"), schedule.ladder(5))


def test_other_transformers_refuse(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    hunyuan_dit(tmp_path / "files", sizes=False).save_pretrained(tmp_path / "pipeline")
    with pytest.raises(HarnessError, match="needs pixel levels and attention maps, which"):
        plan(str(tmp_path / "pipeline"), "asyndm(steps=4)")
