"""W2SD on recorded numbers of the official code, with a LoRA at three scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from harness.core.errors import HarnessError
from harness.engine.batch import run_sampler
from harness.engine.ensemble import Ensemble
from harness.engine.noise import RecordedNoise
from harness.models.load import load
from harness.runs.plan import plan
from tests.conftest import TINY_SDXL, Certify

FOLDER = TINY_SDXL.parent
LORA = FOLDER / "lora" / "tiny_unet.safetensors"
PROMPT = "A Lego-style man is in the car."
CASES = {  # strong_scale, strong_guidance, weak_guidance, inversion, minimal evaluations
    "w2sd_T10": (1.5, 5.5, 1.0, "released", 47),
    "w2sd_evalpy_T10": (0.8, 1.0, 1.0, "released", 38),
    "intended_w2sd_T10": (1.5, 5.5, 1.0, "exact", 47),
}


def _sampler(case: tuple[float, float, float, str, int]) -> str:
    strong, strong_guidance, weak_guidance, inversion, _ = case
    return (
        f"w2sd(steps=10, lora={LORA}, strong_scale={strong}, weak_scale=-1.5, scale=0.8, "
        f"strong_guidance={strong_guidance}, weak_guidance={weak_guidance}, guidance=5.5, "
        f"inversion={inversion})"
    )


def _run(model: Any, sampler: str, noise: torch.Tensor) -> Any:
    call = plan(str(TINY_SDXL), sampler, size=(64, 64)).spec.sampler
    condition, negative = model.encode([PROMPT]), model.encode_negative([None])
    return run_sampler(model, call, condition, negative, RecordedNoise(noise, None, "cpu"))


@pytest.mark.golden
@pytest.mark.parametrize("name", CASES)
def test_the_official_latents_come_out(name: str, certify: Certify) -> None:
    recorded = np.load(FOLDER / f"io_{name}.npz")
    noise = torch.from_numpy(recorded["init_latent"])
    model = load(str(TINY_SDXL))
    plain = _run(model, "ddim(steps=3, guidance=5.5)", noise).native
    batch = _run(model, _sampler(CASES[name]), noise)
    # float32 against float32 on another machine: the largest seen is 3e-5
    certify("w2sd", batch.native, recorded["final_latent"], atol=1e-4)
    assert sum(counts[0] for counts in batch.evaluations.values()) == CASES[name][-1]
    assert torch.equal(_run(model, "ddim(steps=3, guidance=5.5)", noise).native, plain)


def _published_loop(model: Any, noise: torch.Tensor, rescale: float) -> torch.Tensor:
    """The published loop with diffusers' own schedulers: the reflection is not rescaled."""
    from diffusers import DDIMInverseScheduler, DDIMScheduler
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

    kept = model.pipeline.scheduler.config
    forward, back = DDIMScheduler.from_config(kept), DDIMInverseScheduler.from_config(kept)
    for scheduler in (forward, back):
        scheduler.set_timesteps(10)
    condition, negative = model.encode([PROMPT]), model.encode_negative([None])

    def predicted(z: torch.Tensor, time: torch.Tensor, scale: float, phi: float) -> torch.Tensor:
        c, u = (model.evaluate(z, time.float()[None], one) for one in (condition, negative))
        guided = u + scale * (c - u)
        return rescale_noise_cfg(guided, c, guidance_rescale=phi) if phi else guided

    z, times = noise, forward.timesteps
    for i, time in enumerate(times):
        if i < len(times) - 1:
            cleaner = forward.step(predicted(z, time, 7.0, 0.0), time, z).prev_sample
            weak = predicted(cleaner, time, 1.0, 0.0)
            z = back.step(weak, times[i + 1], cleaner).prev_sample
        z = forward.step(predicted(z, time, 5.5, rescale), time, z).prev_sample
    return z


@pytest.mark.golden
def test_released_rescales_the_step_and_not_the_reflection(certify: Certify) -> None:
    noise = torch.from_numpy(np.load(FOLDER / "io_w2sd_T10.npz")["init_latent"])
    model = load(str(TINY_SDXL))
    common = "w2sd(steps=10, guidance=5.5, strong_guidance=7, weak_guidance=1, inversion="
    with torch.inference_mode():
        theirs = _published_loop(model, noise, 0.7)
    ours = _run(model, f"{common}released, guidance_rescale=0.7)", noise).native
    certify("w2sd", ours, theirs, atol=1e-4, reference="diffusers")
    plain = _run(model, f"{common}released)", noise).native
    assert not torch.allclose(plain, ours, atol=0.1)


@pytest.mark.golden
def test_released_with_a_lora_and_rescaled_is_as_large_as_the_official_latents() -> None:
    """Of that official run only its largest latent, 12.03, and its evaluations are kept."""
    noise = torch.from_numpy(np.load(FOLDER / "io_w2sd_T10.npz")["init_latent"])
    sampler = _sampler(CASES["w2sd_T10"]).removesuffix(")") + ", guidance_rescale=0.7)"
    batch = _run(load(str(TINY_SDXL)), sampler, noise)
    assert float(batch.native.abs().max()) == pytest.approx(12.03, abs=0.006)
    assert sum(counts[0] for counts in batch.evaluations.values()) == 47


def test_lambda_is_how_many_first_steps_reflect() -> None:
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    model = load(str(TINY_SDXL))

    def run(sampler: str) -> torch.Tensor:
        return _run(model, sampler, noise).native

    common = "steps=6, guidance=5.5, strong_guidance=5.5, weak_guidance=1"
    whole = run(f"w2sd({common})")
    assert torch.equal(run(f"w2sd({common}, zigzag_steps=5)"), whole)
    assert torch.equal(run(f"w2sd({common}, zigzag_steps=0)"), run("ddim(steps=6, guidance=5.5)"))
    some = run(f"w2sd({common}, zigzag_steps=2)")
    same = run("zigzag(steps=6, guidance=5.5, inversion_guidance=1, zigzag_steps=2)")
    torch.testing.assert_close(some, same, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(some, whole, atol=1e-2)
    with pytest.raises(HarnessError, match="the last step never reflects, so at most 5"):
        plan(str(TINY_SDXL), f"w2sd({common}, zigzag_steps=6)")


def test_half_the_steps_with_a_quarter_of_reflections_cost_the_same() -> None:
    """Section 5.2: T / 2 steps with lambda = T / 4 take T guided pairs."""
    guided = "guidance=5.5, strong_guidance=5.5, weak_guidance=5.5"
    half = plan("shapes", f"w2sd(steps=24, zigzag_steps=12, {guided})").nfe
    assert half == plan("shapes", "ddim(steps=48, guidance=5.5)").nfe == 96


def test_other_scales_in_turn_do_not_build_on_each_other() -> None:
    """Runs at several scales share a loaded model, and take turns shard by shard."""
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    one, two = _sampler(CASES["w2sd_T10"]), _sampler(CASES["w2sd_evalpy_T10"])
    shared = load(str(TINY_SDXL))
    outs = [_run(shared, sampler, noise).native for sampler in (one, two, one, two)]
    assert torch.equal(outs[0], outs[2])
    assert torch.equal(outs[1], outs[3])
    assert torch.equal(outs[1], _run(load(str(TINY_SDXL)), two, noise).native)


def test_without_a_lora_it_is_zigzag_with_the_same_guidance() -> None:
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    model = load(str(TINY_SDXL))
    zigzag = "zigzag(steps=6, guidance=5.5, inversion_guidance=1)"
    w2sd = "w2sd(steps=6, guidance=5.5, strong_guidance=5.5, weak_guidance=1)"
    expected = _run(model, zigzag, noise).native
    torch.testing.assert_close(_run(model, w2sd, noise).native, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("strong_scale=1", "give lora=FILE"),
        ("lora=x.safetensors, scale=1", "needs strong_scale, weak_scale and scale"),
    ],
)
def test_half_a_lora_is_refused(parameters: str, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        plan(str(TINY_SDXL), f"w2sd(steps=4, {parameters})")


def test_a_lora_that_is_not_there_is_named(tmp_path: Any) -> None:
    noise = torch.zeros(1, 4, 8, 8)
    common = "steps=3, strong_scale=1, weak_scale=-1, scale=1"
    with pytest.raises(HarnessError, match="no LoRA file"):
        _run(load(str(TINY_SDXL)), f"w2sd({common}, lora={tmp_path}/none.safetensors)", noise)
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(HarnessError, match="cannot load the LoRA"):
        _run(load(str(TINY_SDXL)), f"w2sd({common}, lora={tmp_path}/bad.safetensors)", noise)


def test_the_weak_model_may_be_another(tmp_path: Any) -> None:
    """With itself as the weak model it is what it is without; with another it is not."""
    texts, noise = [PROMPT], torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    other = f"{TINY_SDXL}(prediction_type=v_prediction)"

    def run(sampler: str) -> torch.Tensor:
        job = plan(str(TINY_SDXL), sampler, size=(64, 64))
        models = Ensemble(load(str(TINY_SDXL)), None, "float32", (64, 64))
        return models.run(job.spec.sampler, texts, [None], RecordedNoise(noise, None, "cpu")).native

    alone = run("w2sd(steps=3)")
    assert torch.equal(run(f"w2sd(steps=3, weak_model={TINY_SDXL})"), alone)
    assert not torch.allclose(run(f'w2sd(steps=3, weak_model="{other}")'), alone, atol=1e-2)
    with pytest.raises(HarnessError, match="does not go with"):
        run("w2sd(steps=3, weak_model=shapes)")
