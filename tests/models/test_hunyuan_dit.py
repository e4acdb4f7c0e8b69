"""HunyuanDiT, against diffusers' own pipeline on tiny random weights."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.engine.batch import run_sampler
from harness.engine.noise import NoiseStreams
from harness.engine.resolve import resolve
from harness.models.load import find, load
from tests.models.tiny_pipelines import hunyuan_dit

PROMPTS = ["a red cat on the house", "blue dog"]


@pytest.fixture(scope="module", params=[True, False], ids=["sizes", "no sizes"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """diffusers' pipeline, and the folder that it was saved to."""
    folder = tmp_path_factory.mktemp("hunyuan")
    pipeline = hunyuan_dit(tmp_path_factory.mktemp("words"), sizes=request.param)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder)
    return pipeline, folder


def _noise() -> NoiseStreams:
    return NoiseStreams(range(2), (4, 10, 8), dtype=torch.float32)


def _run(model: Any, text: str, negative: str | None = None) -> torch.Tensor:
    call = resolve(parse_call(text), {})
    away = model.encode_negative([negative] * 2)
    return run_sampler(model, call, model.encode(PROMPTS), away, _noise()).native


@pytest.mark.parametrize(("guidance", "negative"), [(1.0, None), (5.0, None), (5.0, "tree")])
def test_ddim_is_the_pipelines(both: Any, guidance: float, negative: str | None) -> None:
    pipeline, folder = both
    ours = _run(load(str(folder)), f"ddim(steps=6, guidance={guidance})", negative)
    theirs = pipeline(
        PROMPTS,
        height=80,
        width=64,
        num_inference_steps=6,
        guidance_scale=guidance,
        negative_prompt=None if negative is None else [negative] * 2,
        latents=_noise()(),
        output_type="latent",
        use_resolution_binning=False,
    ).images
    assert float((theirs - _noise()()).abs().max()) > 0.1  # the network does something
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_the_schedule_is_its_own(both: Any) -> None:
    _, folder = both
    entry = find(str(folder))
    assert (entry.size, entry.size_multiple) == ((64, 64), 16)
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert (config["prediction_type"], config["beta_end"]) == ("v_prediction", 0.03)
    assert float(entry.ladders({}).ladder(50)[0]) > 60  # Stable Diffusion's is below 15


def test_zigzag_as_released_and_no_lora(both: Any, tmp_path: Path) -> None:
    model = load(str(both[1]))
    assert bool(_run(model, "zigzag(steps=3, inversion=released)").isfinite().all())
    file = tmp_path / "lora.safetensors"
    file.touch()
    with pytest.raises(HarnessError, match="HunyuanDiTPipeline takes no LoRA"):
        model.variants({"strong": {"lora": str(file), "scale": 1.0}})


def test_a_tokenizer_that_needs_sentencepiece_says_so(
    both: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(both[1], folder)
    (folder / "tokenizer_2" / "tokenizer.json").rename(folder / "tokenizer_2" / "spiece.model")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HarnessError, match=r"pip install 'sampler-harness\[hunyuan\]'"):
        load(str(folder))
