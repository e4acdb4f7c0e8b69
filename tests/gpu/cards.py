"""What the tests of a card share: the device, a batch on it and on the CPU, and distances."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import torch

from harness.engine.ensemble import Ensemble
from harness.engine.noise import NoiseStreams
from harness.runs.loaded import open_models
from harness.runs.plan import plan
from harness.samplers.base import SAMPLERS

DEVICE = os.environ.get("GPU_TESTS_ON", "cuda")
CARD = torch.cuda.is_available() and DEVICE != "cpu"

STEPS = 6
CAPTIONS = ["a red circle and a blue square", "a green star", "two yellow triangles"]

SAMPLER_TEXTS = {name: f"{name}(steps={STEPS})" for name in SAMPLERS.names()}
"""Every registered sampler on the embedded model, as it comes."""

SAMPLER_TEXTS |= {
    "ddim, eta 1": f"ddim(steps={STEPS}, eta=1)",
    "edm with churn": f"edm(steps={STEPS}, guidance=3, s_churn=20)",
    "zigzag as released": f"zigzag(steps={STEPS}, inversion=released)",
    "w2sd as released": f"w2sd(steps={STEPS}, inversion=released)",
}
POLICY_TEXTS = {
    "no guidance": f"ddim(steps={STEPS}, guidance=1)",
    "unconditional": f"ddim(steps={STEPS}, guidance=0)",
    "rescale": f"ddim(steps={STEPS}, guidance_rescale=0.7)",
    "interval": f"heun(steps={STEPS}, interval=[0.5, 5])",
    "interval of steps": f"dpmpp_2m(steps={STEPS}, interval_steps=[1, 3])",
    "schedule": f"ddim(steps={STEPS}, guidance_schedule=[[20, 2], [2, 1], [0.5, 0]])",
    "apg": f"ddim(steps={STEPS}, apg_eta=0.2, apg_threshold=5, apg_momentum=-0.5)",
    "pag": f"ddim(steps={STEPS}, pag_scale=1.5)",
    "pag in an interval": f"ddim(steps={STEPS}, pag_scale=1.5, interval_steps=[1, 3])",
}
EDM_TEXTS = {
    "edm on EDM": f"edm(steps={STEPS}, guidance=1, s_churn=10)",
    "heun on EDM, guided": f"heun(steps={STEPS}, guidance=2)",
    "restart on EDM": f"restart(steps={STEPS}, guidance=1, intervals=[[3, 2, 0.1, 1.0]])",
}
ALL_TEXTS = SAMPLER_TEXTS | POLICY_TEXTS | EDM_TEXTS


def model_of(name: str) -> tuple[str, str | None]:
    """The embedded model that a text of ALL_TEXTS runs on, and its guide."""
    if name not in EDM_TEXTS:
        return "shapes", None
    return "shapes-edm", "shapes-edm-uncond" if "guided" in name else None


@lru_cache
def opened(
    model: str, guide: str | None = None, dtype: str = "float32", device: str = DEVICE
) -> Ensemble:
    """The loaded model, once a session."""
    sampler = f"ddim(steps=2, guidance={2 if guide else 1})"
    return open_models(plan(model, sampler, dtype=dtype, device=device, guide=guide), device)


def drawn(
    name: str, device: str = DEVICE, dtype: str = "float32", batch: int = len(CAPTIONS)
) -> torch.Tensor:
    """The latents [B, ...] of a text of ALL_TEXTS, on the device."""
    model, guide = model_of(name)
    planned = plan(model, ALL_TEXTS[name], dtype=dtype, device=device, guide=guide)
    ensemble = opened(model, guide, dtype, device)
    texts = CAPTIONS if ensemble.model.classes is None else ["class 3", "class 10", "class 40"]
    texts = [texts[i % len(texts)] for i in range(batch)]
    return ensemble.run(planned.spec.sampler, texts, [None] * batch, noise(ensemble, batch)).native


def noise(ensemble: Ensemble, batch: int) -> NoiseStreams:
    """The same noise on every device."""
    model: Any = ensemble.model
    shape = model.latent_shape((32, 32) if model.classes else (64, 64))
    return NoiseStreams(range(batch), shape, dtype=model.state_dtype, device=model.device)


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest relative distance, in the 2-norm, between what two computed for an image."""
    a, b = (part.cpu().double().flatten(1) for part in (one, other))
    return float(((a - b).norm(dim=1) / b.norm(dim=1)).max())
