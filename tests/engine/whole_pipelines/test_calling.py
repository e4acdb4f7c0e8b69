"""Functions of a pipeline: their latents, pictures and evaluations, against ours and diffusers'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError
from harness.engine.batch import Batch
from harness.engine.ensemble import Ensemble
from harness.engine.noise import NoiseStreams
from harness.engine.resolve import resolve
from harness.engine.whole_pipelines.trying import Trial
from harness.models.base import Model
from harness.models.load import load
from tests.engine.whole_pipelines.forms import (
    BEST_OF_TWO,
    EARLY,
    OWN_CALL,
    ZIGZAG,
    returning,
    written,
)
from tests.models.tiny_captured import dit, flux

TEXTS = ["a red circle", "a blue square above a green star"]


def _run(
    model: Any,
    text: str,
    together: bool = True,
    texts: list[str] = TEXTS,
    keys: tuple[int, ...] = (1, 2),
) -> Batch:
    call: Call = resolve(parse_call(text), {})
    size = (64, 64)
    ensemble = Ensemble(model, size=size)
    ensemble.trials[str(call)] = Trial(together, True, None, [])
    noise = NoiseStreams(list(keys), model.latent_shape(size), dtype=model.state_dtype)
    return ensemble.run(call, texts, [None] * len(texts), noise)


def test_one_by_one_latents_do_not_depend_on_the_batch(shapes: Model, tmp_path: Path) -> None:
    mixes = f"{written(tmp_path, returning('z / z.std()'))}(steps=2)"
    batch = _run(shapes, mixes, together=False)
    alone = [_run(shapes, mixes, False, [t], (k,)) for t, k in zip(TEXTS, (1, 2), strict=True)]
    assert torch.equal(batch.native, torch.cat([one.native for one in alone]))
    assert _apart(batch, _run(shapes, mixes)) > 1e-3  # or nothing is mixed here


def _apart(one: Batch, two: Batch) -> float:
    return float((one.native - two.native).abs().max())


@pytest.mark.parametrize("together", [True, False])
def test_ddim_by_the_pipelines_own_call_is_ours(
    shapes: Model, tmp_path: Path, together: bool
) -> None:
    ddim = "from diffusers import DDIMScheduler\n" + OWN_CALL.replace(
        "    return",
        "    pipeline.scheduler = DDIMScheduler.from_config("
        "pipeline.scheduler.config, timestep_spacing='leading')\n    return",
    )
    theirs = _run(shapes, f"{written(tmp_path, ddim)}(steps=6)", together)
    ours = _run(shapes, "ddim(steps=6, guidance=5.5, spacing=leading)")
    assert _apart(theirs, ours) < 1e-4
    if together:
        assert theirs.evaluations == {k: v for k, v in ours.evaluations.items() if any(v)}
    else:
        assert theirs.evaluations == {("main", "all"): [12, 12]}


def test_zigzag_in_a_loop_of_its_own_is_ours(shapes: Model, tmp_path: Path) -> None:
    theirs = _run(shapes, written(tmp_path, ZIGZAG, "zigzag") + "(steps=6)")
    ours = _run(shapes, "zigzag(steps=6)")
    assert float(ours.native.abs().max()) > 1
    assert _apart(theirs, ours) < 1e-4
    # it evaluates both branches in the inversion, too, whose weight is 0
    assert theirs.evaluations == {("main", "uncond"): [16, 16], ("main", "cond"): [16, 16]}
    assert ours.evaluations["main", "cond"] == [11, 11]


def test_a_pipelines_subclass_is_counted_branch_by_branch(shapes: Model, tmp_path: Path) -> None:
    sampler = written(tmp_path, EARLY, "early")
    batch = _run(shapes, f"{sampler}(steps=6, until=2)")
    assert batch.evaluations == {("main", "uncond"): [2, 2], ("main", "cond"): [6, 6]}
    all_the_way = _run(shapes, f"{sampler}(steps=6, until=6)")
    assert _apart(all_the_way, batch) > 0.1
    assert _apart(all_the_way, _run(shapes, written(tmp_path, OWN_CALL) + "(steps=6)")) < 1e-5


def test_a_script_of_several_calls_gives_pictures(shapes: Any, tmp_path: Path) -> None:
    batch = _run(shapes, written(tmp_path, BEST_OF_TWO, "best_of_two") + "(steps=3)")
    assert batch.evaluations == {("main", "uncond"): [6, 6], ("main", "cond"): [6, 6]}
    assert batch.pixels is not None
    noise = NoiseStreams([1, 2], shapes.latent_shape((64, 64)), dtype=shapes.state_dtype)()
    given = {"num_inference_steps": 3, "guidance_scale": 5.5, "output_type": "np"}
    one, two = (shapes.lent()(TEXTS, latents=z, **given).images for z in (noise, -noise))
    both = np.stack([one, two])
    best = both[both.std((2, 3, 4)).argmax(0), range(2)]
    shown = batch.pixels.permute(0, 2, 3, 1).numpy()
    assert np.abs(shown - (best * 255).round()).max() <= 1


def test_a_captured_pipeline_is_given_noise_as_it_takes_it(tmp_path: Path) -> None:
    flux(guided=False).save_pretrained(tmp_path / "tiny")
    model = load(str(tmp_path / "tiny"), size=(64, 64))
    text = OWN_CALL.replace("output_type", "height=height, width=width, output_type").replace(
        "generators, steps", "generators, height, width, steps"
    )
    texts = ["a red cat on the house", "blue dog"]
    theirs = _run(model, written(tmp_path, text) + "(steps=4, guidance=1.0)", texts=texts)
    ours = _run(model, "ddim(steps=4, guidance=1)", texts=texts)
    assert _apart(theirs, ours) < 1e-4 * float(ours.native.abs().max())
    assert theirs.evaluations == {("main", "cond"): [4, 4]}


def test_classes_come_as_numbers(tmp_path: Path) -> None:
    dit().save_pretrained(tmp_path / "tiny")
    model = load(str(tmp_path / "tiny"), size=(64, 64))
    text = """
def run(pipeline, prompts, generators, steps: int = 3):
    assert prompts == [3, 7], prompts
    return pipeline(prompts, generator=generators, num_inference_steps=steps, output_type="pt")
"""
    batch = _run(model, written(tmp_path, text), texts=["class 3", "class 7"])
    assert batch.pixels is not None
    assert batch.pixels.shape == (2, 3, 64, 64)
    assert batch.classes == [3, 7]
    assert batch.evaluations == {("main", "cond"): [3, 3], ("main", "uncond"): [3, 3]}


def test_what_a_function_does_to_the_pipeline_is_undone(shapes: Model, tmp_path: Path) -> None:
    before = _run(shapes, "ddim(steps=2)")
    hostile = returning(
        "z",
        "pipeline.unet.forward = lambda *a, forward=pipeline.unet.forward, **k: forward(*a, **k)\n"
        "    pipeline.unet.conv_in.register_forward_hook(lambda module, args, out: out * 0)\n"
        "    pipeline.unet.mid_block = torch.nn.Identity() if False else pipeline.unet.mid_block\n"
        "    pipeline.unet.conv_norm_out = torch.nn.Identity()\n"
        "    pipeline.scheduler.timesteps = None",
    )
    assert _apart(before, _run(shapes, written(tmp_path, hostile))) > 0.1
    assert _apart(before, _run(shapes, "ddim(steps=2)")) == 0


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("z[:1]", "returns 1 pictures for 2 prompts"),
        ("z[:, :, 1:]", r"returns \[16, 7, 8\] a picture: expected latents \[16, 8, 8\], or pict"),
        ("None", "returns NoneType: expected latents or pictures"),
        ("np.zeros((2, 32, 32, 3))", r"returns \[32, 32, 3\] a picture"),
        ("np.full((2, 64, 64, 3), -1.0)", "returns pictures of -1 to -1: expected 0 to 1"),
        ("np.zeros((2, 64, 64, 3), int)", "returns pictures of torch.int64: expected uint8"),
        ("[z[0], z[1, :1]]", "returns pictures of several sizes or kinds"),
        ("z + torch.randn(())", "draws from torch's global generator"),
        ("z / nothing", "line 8: NameError: name 'nothing' is not defined"),
    ],
)
def test_what_it_returns_is_checked(shapes: Model, tmp_path: Path, what: str, message: str) -> None:
    with pytest.raises(HarnessError, match=message) as found:
        _run(shapes, written(tmp_path, returning(what)))
    assert "\n" not in str(found.value)


def test_a_function_without_a_network_has_no_cost(shapes: Model, tmp_path: Path) -> None:
    text = "def run(pipeline, prompts, latents):\n    return latents\n"
    with pytest.raises(HarnessError, match="never evaluates the pipeline's network"):
        _run(shapes, written(tmp_path, text))


def test_another_network_counts_beside_the_models_own(shapes: Model, tmp_path: Path) -> None:
    text = returning("other(z, 1, prompt).sample", "import copy").replace(
        "    return",
        "    other = copy.deepcopy(pipeline.unet)\n"
        "    prompt = pipeline.encode_prompt(prompts, z.device, 1, False)[0]\n    return",
    )
    found = _run(shapes, written(tmp_path, text)).evaluations
    assert found.pop(("UNet2DConditionModel", "cond")) == [1, 1]
    assert found == {("main", "uncond"): [2, 2], ("main", "cond"): [2, 2]}


def test_torch_is_given_as_pixels() -> None:
    from harness.engine.whole_pipelines.returned import read_returned

    pictures = torch.rand(2, 3, 8, 8)
    pictures[1, 0, 0, 0] = torch.nan
    native, pixels = read_returned(pictures, 2, [(4, 1, 1)], (8, 8))
    assert pixels is not None
    assert not native[1].isfinite().all()
    assert torch.equal(pixels[0], (pictures[0] * 255).round().to(torch.uint8))
