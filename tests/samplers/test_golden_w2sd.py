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
