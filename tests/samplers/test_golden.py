"""Our samplers on recorded numbers of the official code (tests/golden/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.engine.batch import run_sampler
from harness.engine.noise import RecordedNoise
from harness.models.load import load
from harness.runs.plan import plan
from tests.conftest import TINY_SDXL, Certify

FOLDER = Path(__file__).parent.parent / "golden" / "zigzag"
CASES: dict[str, dict[str, Any]] = json.loads((FOLDER / "cases.json").read_text())
pytestmark = pytest.mark.golden


def sampler_text(case: dict[str, Any]) -> str:
    common = f"steps={case['infer_step']}, guidance={case['gamma_1']}"
    if case["guidance_rescale"]:
        common += f", guidance_rescale={case['guidance_rescale']}"
    if case["method"] == "standard":
        return f"ddim({common})"
    inversion = "exact" if case.get("intended") else "released"
    return (
        f"zigzag({common}, inversion_guidance={case['gamma_2']}, rounds={case['T_max']}, "
        f"zigzag_steps={case['lambda_step']}, inversion={inversion})"
    )


def minimal_nfe(case: dict[str, Any]) -> int:
    """(T + lambda T_max) c(gamma_1) + lambda T_max c(gamma_2), c = 1 for a weight of 0 or 1."""
    steps, back = case["infer_step"], (case["lambda_step"] or 0) * (case["T_max"] or 0)

    def cost(weight: float) -> int:
        return 1 if weight in (0, 1) and not (weight == 0 and case["guidance_rescale"]) else 2

    return (steps + back) * cost(case["gamma_1"]) + (back and back * cost(case["gamma_2"]))


@pytest.mark.parametrize("name", CASES)
def test_the_official_latents_come_out(name: str, certify: Certify) -> None:
    case = CASES[name]
    recorded = np.load(FOLDER / f"io_{name}.npz")
    settings = ", ".join(f"{key}={value}" for key, value in case.get("scheduler", {}).items())
    spec = f"{TINY_SDXL}({settings})" if settings else str(TINY_SDXL)
    job = plan(spec, sampler_text(case), size=(case["height"], case["width"]))
    model = load(spec)
    prompts, negatives = (
        value if isinstance(value, list) else [value]
        for value in (case["prompt"], case["negative_prompt"])
    )
    batch = run_sampler(
        model,
        job.spec.sampler,
        model.encode(prompts),
        model.encode_negative(negatives),
        RecordedNoise(torch.from_numpy(recorded["init_latent"]), None, "cpu"),
    )
    # float32 against float32 on another machine: the largest seen is 2e-5
    certify(job.spec.sampler.name, batch.native, recorded["final_latent"], atol=1e-4)
    spent = [sum(counts) for counts in zip(*batch.evaluations.values(), strict=True)]
    assert set(spent) == {minimal_nfe(case)} == {job.nfe}
    assert job.nfe <= case["sample_evals_per_image"]
    if "image_u8" in recorded:
        picture = model.decode(batch.native)[0].permute(1, 2, 0).numpy().astype(int)
        assert np.abs(picture - recorded["image_u8"]).max() <= 1  # one level of rounding
