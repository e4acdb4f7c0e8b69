"""CFG-Zero*, TCFG, SLG and SEG against diffusers' own, and with everything else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.guiders.classifier_free_zero_star_guidance import ClassifierFreeZeroStarGuidance
from diffusers.guiders.tangential_classifier_free_guidance import TangentialClassifierFreeGuidance
from diffusers.hooks import HookRegistry
from diffusers.hooks.smoothed_energy_guidance_utils import (
    SmoothedEnergyGuidanceConfig,
    _apply_smoothed_energy_guidance_hook,
    _gaussian_blur_2d,
)

from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.engine.batch import Batch, run_sampler
from harness.engine.branches import Conditioned
from harness.engine.noise import NoiseStreams
from harness.engine.rehearsal import rehearse
from harness.engine.resolve import resolve
from harness.models.base import Model
from harness.models.load import load
from harness.models.pipelines.hooks.smoothed import blurred
from tests.models.tiny_pipelines import stable_diffusion_3

PROMPTS = ["a cat in the car", "a red hat"]
STEPS = 4


def _noise(model: Any, keys: Any = range(2)) -> NoiseStreams:
    return NoiseStreams(keys, (4, 8, 8), dtype=model.state_dtype)


def _run(model: Any, text: str, rows: slice = slice(None), guide: Any = None) -> Batch:
    call = resolve(parse_call(text), {})
    prompts = PROMPTS[rows]
    condition, away = model.encode(prompts), model.encode_negative([None] * len(prompts))
    return run_sampler(model, call, condition, away, _noise(model, range(2)[rows]), guide)


def _counts(batch: Batch) -> dict[str, int]:
    return {branch: count[0] for (_, branch), count in batch.evaluations.items()}


@torch.inference_mode()
def _guided(model: Any, combine: Any) -> torch.Tensor:
    """Euler's method where `combine(i, c, u, x, s)` makes one output of the network's own ones."""
    sigmas = model.ladder(STEPS)
    x = model.start(_noise(model)(), sigmas[0])
    told = model.encode(PROMPTS), model.encode_negative([None] * 2)
    for i, (s, t) in enumerate(pairwise(sigmas)):
        c, u = (model.network(x, s, s, one).to(x.dtype) for one in told)
        denoised = model.denoised(x, s, combine(i, c, u, x, s))
        x = x + (t - s) * (x - denoised) / s
    return model.native(x, sigmas[-1])


def _by_guider(guider: Any) -> Any:
    def combine(i: int, c: torch.Tensor, u: torch.Tensor, *_: Any) -> torch.Tensor:
        guider.set_state(step=i, num_inference_steps=STEPS, timestep=torch.tensor(1.0))
        return guider.forward(c, u).pred

    return combine


@pytest.mark.golden
@pytest.mark.parametrize("zeros", [0, 1])
def test_cfg_zero_star_is_diffusers_own(certify: Any, tiny_sdxl: Any, zeros: int) -> None:
    guider = ClassifierFreeZeroStarGuidance(guidance_scale=5.0, zero_init_steps=zeros)
    text = f"ddim(steps={STEPS}, guidance=5, cfg_zero_star=true, zero_init_steps={zeros})"
    ours = _run(tiny_sdxl, text).native
    certify("cfg_zero_star", ours, _guided(tiny_sdxl, _by_guider(guider)), atol=2e-5)
    plain = _run(tiny_sdxl, f"ddim(steps={STEPS}, guidance=5)").native
    assert float((ours - plain).abs().max()) > 1e-2


@pytest.mark.golden
def test_tcfg_is_diffusers_own(certify: Any, tiny_sdxl: Any) -> None:
    guider = TangentialClassifierFreeGuidance(guidance_scale=5.0)
    ours = _run(tiny_sdxl, f"ddim(steps={STEPS}, guidance=5, tcfg=true)").native
    certify("tcfg", ours, _guided(tiny_sdxl, _by_guider(guider)), atol=2e-5)
    plain = _run(tiny_sdxl, f"ddim(steps={STEPS}, guidance=5)").native
    assert float((ours - plain).abs().max()) > 1e-3


@contextmanager
def _their_smoothing(net: torch.nn.Module, blur: float) -> Iterator[None]:
    config = SmoothedEnergyGuidanceConfig([0], fqn="mid_block.attentions.0.transformer_blocks")
    _apply_smoothed_energy_guidance_hook(net, config, blur, name="seg")
    yield
    HookRegistry.check_if_exists_or_initialize(net).remove_hook("seg", recurse=True)


@pytest.mark.golden
def test_seg_is_diffusers_own_under_infinite_blur(certify: Any, tiny_sdxl: Any) -> None:
    """diffusers' hook takes the mean of queries below its threshold of infinity, not above it."""
    told = tiny_sdxl.encode(PROMPTS)

    def combine(i: int, c: Any, u: Any, x: Any, s: Any) -> torch.Tensor:
        with _their_smoothing(tiny_sdxl.net, blur=1.0):
            p = tiny_sdxl.network(x, s, s, told)
        return u + 5 * (c - u) + 3 * (c - p)

    batch = _run(tiny_sdxl, f"ddim(steps={STEPS}, guidance=5, seg_scale=3)")
    certify("seg", batch.native, _guided(tiny_sdxl, combine), atol=2e-5)
    assert _counts(batch) == {"cond": 4, "uncond": 4, "smoothed": 4}
    plain = _run(tiny_sdxl, f"ddim(steps={STEPS}, guidance=5)").native
    assert float((batch.native - plain).abs().max()) > 1e-3
    assert not any(module._forward_hooks for module in tiny_sdxl.net.modules())


def test_a_finite_blur_is_diffusers_kernel() -> None:
    query = torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(0))
    theirs = _gaussian_blur_2d(query.clone(), 7, 1.0, sigma_threshold_inf=0.0)
    torch.testing.assert_close(blurred(query, 1.0, 1.0), theirs)
    far = blurred(query, 1.0, 1e-3)  # nothing but the position itself
    torch.testing.assert_close(far, query)


def test_a_wide_picture_is_blurred_along_both_sides() -> None:
    query = torch.zeros(1, 4 * 16, 1)
    query[0, 2 * 16 + 8] = 1.0
    maps = blurred(query, 4 / 16, 0.8).reshape(4, 16)
    torch.testing.assert_close(maps[:, 7], maps[:, 9])
    assert maps[2].argmax() == 8
    assert maps[1, 8] > maps[1, 6] > 0
    with pytest.raises(HarnessError, match="no picture"):
        blurred(torch.zeros(1, 63, 1), 1.0, 1.0)


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A tiny Stable Diffusion 3: its own pipeline, and the model."""
    folder: Path = tmp_path_factory.mktemp("sd3")
    pipeline = stable_diffusion_3(t5=False)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder)
    return pipeline, load(str(folder))


@pytest.mark.golden
@pytest.mark.parametrize("layers", [[1], [0, 2]])
def test_slg_is_diffusers_own(certify: Any, sd3: tuple[Any, Any], layers: list[int]) -> None:
    pipeline, model = sd3
    theirs = pipeline(
        PROMPTS,
        num_inference_steps=8,
        guidance_scale=4.0,
        latents=_noise(model)(),
        output_type="latent",
        skip_guidance_layers=layers,
        skip_layer_guidance_scale=2.5,
        skip_layer_guidance_start=0.1,  # of 8 steps: 1 to 3
        skip_layer_guidance_stop=0.5,
        height=64,
        width=64,
    ).images
    text = f"ddim(steps=8, guidance=4, slg_scale=2.5, slg_layers={layers}, slg_steps=[1, 3])"
    batch = _run(model, text)
    certify("slg", batch.native, theirs.double(), atol=1e-4)
    assert _counts(batch) == {"cond": 8, "uncond": 8, "skipped": 3}
    call = resolve(parse_call(text), {})
    assert {b: n for (_, b), n in rehearse(model, call)[1].items()} == _counts(batch)
    plain = _run(model, "ddim(steps=8, guidance=4)").native
    assert float((batch.native - plain).abs().max()) > 1e-2
    assert not any("forward" in vars(block) for block in model.net.transformer_blocks)


def test_a_u_nets_block_is_skipped_by_its_name(tiny_sdxl: Model) -> None:
    name = "mid_block.attentions.0.transformer_blocks.0"
    batch = _run(tiny_sdxl, f"heun(steps=3, guidance=3, slg_scale=2, slg_layers=[{name}])")
    assert _counts(batch) == {"cond": 5, "uncond": 5, "skipped": 5}
    plain = _run(tiny_sdxl, "heun(steps=3, guidance=3)").native
    assert bool(batch.native.isfinite().all())
    assert not torch.allclose(batch.native, plain, atol=1e-3)


ALL = "cfg_zero_star=true", "tcfg=true", "seg_scale=2, seg_blur=1", "slg_scale=2, slg_layers=[MID]"


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("sampler", ["heun", "zigzag", "diffusers:UniPCMultistep"])
def test_they_do_not_depend_on_the_batch(tiny_sdxl: Model, sampler: str, text: str) -> None:
    text = text.replace("MID", "mid_block.attentions.0.transformer_blocks.0")
    text = f"{sampler}(steps=4, guidance=3, {text}, interval_steps=[1, 3])"
    together = _run(tiny_sdxl, text).native
    torch.testing.assert_close(
        _run(tiny_sdxl, text, slice(1, 2)).native[0], together[1], atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("text", ["cfg_zero_star=true", "tcfg=true", "cfg_zero_star=false"])
@pytest.mark.parametrize("weight", [0, 0.5, 1])
def test_they_act_only_where_guidance_amplifies(tiny_sdxl: Model, weight: float, text: str) -> None:
    plain = _run(tiny_sdxl, f"ddim(steps=3, guidance={weight})")
    ours = _run(tiny_sdxl, f"ddim(steps=3, guidance={weight}, {text})")
    torch.testing.assert_close(ours.native, plain.native, atol=1e-6, rtol=0)
    assert ours.evaluations == plain.evaluations


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("seg_layers=[mid]", "no effect without seg_scale"),
        ("seg_scale=1, seg_layers=[middle]", "seg_layers: .*'middle'.*mid_block"),
        ("slg_layers=[1]", "no effect without slg_scale"),
        ("slg_scale=1", "needs the blocks to skip"),
        ("slg_scale=1, slg_layers=[9]", "there is no block 9"),
        (
            "slg_scale=1, slg_layers=[mid_block]",
            "unknown block 'mid_block' for slg_layers: known: .*mid_block",
        ),
        ("slg_scale=1, slg_layers=[0], slg_steps=[1, 5]", r"slg_steps \[1, 5\] must lie within"),
        ("zero_init_steps=1", "no effect without cfg_zero_star"),
        ("cfg_zero_star=true, zero_init_steps=2", "leaves none of 2 steps"),
        ("cfg_zero_star=true, tcfg=true", "contradict"),
        ("cfg_zero_star=true, apg_eta=0", "contradict"),
        ("tcfg=true, apg_eta=0", "contradict"),
    ],
)
def test_what_cannot_be_done_is_refused(tiny_sdxl: Model, options: str, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        _run(tiny_sdxl, f"ddim(steps=2, guidance=3, {options})")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("seg_scale=1", "gmm has no layers to alter: seg_scale needs"),
        ("slg_scale=1, slg_layers=[0]", "gmm has no layers to alter: slg_scale needs"),
        ("tcfg=true", "gmm predicts pictures"),
        ("cfg_zero_star=true", "gmm predicts pictures"),
    ],
)
def test_a_model_that_lacks_what_they_need_says_so(gmm: Any, options: str, words: str) -> None:
    call = resolve(parse_call(f"ddim(steps=2, guidance=3, {options})"), {})
    noise = NoiseStreams([0], (3, 8, 8), dtype=torch.float64)
    with pytest.raises(HarnessError, match=words):
        run_sampler(gmm, call, gmm.encode(["class 1"]), gmm.encode_negative([None]), noise)


def test_predictions_of_two_networks_are_not_combined(tiny_sdxl: Any) -> None:
    guide = Conditioned(tiny_sdxl, tiny_sdxl.encode(PROMPTS))
    with pytest.raises(HarnessError, match="not those of two networks"):
        _run(tiny_sdxl, "ddim(steps=2, guidance=3, tcfg=true)", guide=guide)
