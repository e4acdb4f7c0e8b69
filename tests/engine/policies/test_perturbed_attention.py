"""Perturbed-attention guidance against diffusers' pipeline, and with everything else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.engine.batch import Batch, run_sampler
from harness.engine.noise import NoiseStreams
from harness.engine.rehearsal import rehearse
from harness.engine.resolve import resolve
from harness.models.base import Model

PROMPTS = ["a cat in the car", "a red hat"]


def _run(model: Model, text: str, rows: slice = slice(None)) -> Batch:
    call = resolve(parse_call(text), {})
    prompts, keys = PROMPTS[rows], range(2)[rows]
    noise = NoiseStreams(keys, (4, 8, 8), dtype=model.state_dtype)
    negative = model.encode_negative([None] * len(prompts))
    return run_sampler(model, call, model.encode(prompts), negative, noise)


def _counts(batch: Batch) -> dict[str, int]:
    return {branch: count[0] for (_, branch), count in batch.evaluations.items()}


@pytest.mark.golden
@pytest.mark.parametrize(
    ("guidance", "layer", "rescale"),
    [(5.0, "mid", 0.0), (1.0, "mid", 0.0), (5.0, "down_blocks.1", 0.0), (5.0, "mid", 0.7)],
)
def test_perturbed_attention_is_diffusers_own(
    certify: Any, tiny_sdxl: Any, guidance: float, layer: str, rescale: float
) -> None:
    from diffusers import DDIMScheduler, StableDiffusionXLPAGPipeline

    parts = dict(tiny_sdxl.pipeline.components)
    parts["scheduler"] = DDIMScheduler.from_config(parts["scheduler"].config)
    theirs = StableDiffusionXLPAGPipeline(**parts, pag_applied_layers=[layer])
    theirs.set_progress_bar_config(disable=True)
    latents = theirs(
        prompt=PROMPTS,
        num_inference_steps=4,
        guidance_scale=guidance,
        guidance_rescale=rescale,
        pag_scale=3.0,
        latents=NoiseStreams(range(2), (4, 8, 8), dtype=torch.float32)(),
        height=64,
        width=64,
        output_type="latent",
    ).images
    options = f"guidance={guidance}, pag_scale=3, pag_layers=[{layer}], guidance_rescale={rescale}"
    ours = _run(tiny_sdxl, f"ddim(steps=4, {options})")
    certify("pag", ours.native, latents, atol=1e-4)
    expected = {"cond": 4, "uncond": 0 if guidance == 1 else 4, "perturbed": 4}
    assert _counts(ours) == expected
    plain = _run(tiny_sdxl, f"ddim(steps=4, guidance={guidance}, guidance_rescale={rescale})")
    assert float((plain.native - ours.native).abs().max()) > 1e-3
    assert not any(module._forward_hooks for module in tiny_sdxl.net.modules())


def test_outside_an_interval_nothing_is_perturbed(tiny_sdxl: Model) -> None:
    text = "heun(steps=4, guidance=3, pag_scale=2, interval_steps=[1, 2])"
    batch = _run(tiny_sdxl, text)
    assert _counts(batch) == {"cond": 7, "uncond": 4, "perturbed": 4}
    call = resolve(parse_call(text), {})
    assert {b: n for (_, b), n in rehearse(tiny_sdxl, call)[1].items()} == _counts(batch)
    assert torch.allclose(_run(tiny_sdxl, text, slice(1, 2)).native[0], batch.native[1], atol=1e-5)


def test_combined_as_estimates_it_is_the_same(tiny_sdxl: Model) -> None:
    """(c - p) is added to an affine combination, so it does not matter in which space."""
    text = "ddim(steps=3, guidance=3, pag_scale=2"
    estimates = _run(tiny_sdxl, f"{text}, apg_eta=1)").native
    torch.testing.assert_close(estimates, _run(tiny_sdxl, f"{text})").native, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("pag_layers=[mid]", "no effect without pag_scale"),
        ("pag_scale=-1", "pag_scale=-1"),
        ("pag_scale=1, pag_layers=[middle]", "no self-attention in 'middle'.*mid_block"),
    ],
)
def test_what_cannot_be_perturbed_is_named(tiny_sdxl: Model, options: str, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        _run(tiny_sdxl, f"ddim(steps=2, {options})")


def test_a_model_without_attention_says_so(gmm: Model) -> None:
    call = resolve(parse_call("ddim(steps=2, pag_scale=1)"), {})
    noise = NoiseStreams([0], (3, 8, 8), dtype=torch.float64)
    with pytest.raises(HarnessError, match="gmm has no self-attention to perturb"):
        run_sampler(gmm, call, gmm.encode(["class 1"]), gmm.encode_negative([None]), noise)
