"""Stable Diffusion 3, against diffusers' own pipeline on tiny random weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import cli
from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.engine.batch import run_sampler
from harness.engine.noise import NoiseStreams
from harness.engine.rehearsal import rehearse
from harness.engine.resolve import resolve
from harness.models.load import find, load
from tests.models.tiny_pipelines import stable_diffusion_3

PROMPTS = ["a red cat on the house", "blue dog"]


@pytest.fixture(scope="module")
def pipeline() -> Any:
    made = stable_diffusion_3()
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def folder(pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sd3")
    pipeline.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return load(str(folder))


def _noise(count: int = 2, size: tuple[int, int] = (8, 8)) -> NoiseStreams:
    return NoiseStreams(range(count), (4, *size), dtype=torch.float64)


def _run(model: Any, text: str, negative: str | None = None) -> torch.Tensor:
    call = resolve(parse_call(text), {})
    condition = model.encode(PROMPTS)
    away = model.encode_negative([negative] * 2)
    return run_sampler(model, call, condition, away, _noise()).native


def _theirs(pipeline: Any, steps: int, guidance: float, **settings: Any) -> torch.Tensor:
    return pipeline(
        PROMPTS,
        num_inference_steps=steps,
        guidance_scale=guidance,
        latents=_noise()(),
        output_type="latent",
        **settings,
    ).images


@pytest.mark.parametrize(("steps", "guidance"), [(1, 1.0), (8, 1.0), (8, 4.5)])
def test_ddim_is_the_pipelines_euler(
    model: Any, pipeline: Any, steps: int, guidance: float
) -> None:
    ours = _run(model, f"ddim(steps={steps}, guidance={guidance})")
    assert ours.dtype == torch.float64
    theirs = _theirs(pipeline, steps, guidance)
    assert float((theirs - _noise()()).abs().max()) > 0.1  # the network does something
    torch.testing.assert_close(ours, theirs.double(), atol=1e-4, rtol=0)


def test_a_negative_prompt_is_the_pipelines(model: Any, pipeline: Any) -> None:
    ours = _run(model, "ddim(steps=4, guidance=5)", "tree")
    theirs = _theirs(pipeline, 4, 5.0, negative_prompt=["tree"] * 2)
    torch.testing.assert_close(ours, theirs.double(), atol=1e-4, rtol=0)
    assert not torch.allclose(ours, _run(model, "ddim(steps=4, guidance=5)"), atol=1e-3)


def test_pictures_are_the_pipelines(model: Any, pipeline: Any) -> None:
    latents = _theirs(pipeline, 4, 4.0)
    shifted = latents / pipeline.vae.config.scaling_factor + pipeline.vae.config.shift_factor
    with torch.inference_mode():
        theirs = pipeline.vae.decode(shifted).sample
    theirs = ((theirs / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    assert torch.equal(model.decode(latents), theirs)


def test_without_t5(pipeline: Any, folder: Path, tmp_path: Path) -> None:
    """Left out by the user, absent from the checkpoint, or asked for and missing."""
    chosen = load(f"{folder}(text_encoder_3=none)")
    pipeline_without = stable_diffusion_3(t5=False)
    pipeline_without.save_pretrained(tmp_path)
    absent = load(str(tmp_path))
    for name in ("transformer", "text_encoder", "text_encoder_2"):
        getattr(pipeline_without, name).load_state_dict(getattr(pipeline, name).state_dict())
    pipeline_without.set_progress_bar_config(disable=True)
    theirs = _theirs(pipeline_without, 3, 4.0)
    ours = _run(chosen, "ddim(steps=3, guidance=4)")
    torch.testing.assert_close(ours, theirs.double(), atol=1e-4, rtol=0)
    assert absent.encode(PROMPTS)["text"][:, 77:].abs().max() == 0  # type: ignore[attr-defined]
    (tmp_path / "text_encoder_2").rename(tmp_path / "elsewhere")
    with pytest.raises(HarnessError, match="has no text_encoder_2/"):
        load(str(tmp_path))
    with pytest.raises(HarnessError, match="write text_encoder_3=none"):
        find(f"{folder}(text_encoder_3=small)").ladders({"text_encoder_3": "small"})


@pytest.fixture(scope="module")
def usual(model: Any) -> float:
    return float(_run(model, "ddim(steps=10, guidance=4)").abs().max())


@pytest.mark.parametrize(
    "text",
    [
        "dpmpp_2m(steps=4, guidance=4)",
        "heun(steps=4, guidance=4)",
        "zigzag(steps=4, guidance=4)",
        "w2sd(steps=4, guidance=4, strong_guidance=4, weak_guidance=1)",
        "restart(steps=5, guidance=4, intervals=[[3, 2, 0.3, 2.0]])",
        "edm(steps=4, guidance=4, spacing=karras, sigma_max=80, s_churn=4)",
        "ddim(steps=4, guidance=4, eta=1)",
        "ddim(steps=4, guidance=4, guidance_rescale=0.7, interval=[0.3, 30])",
    ],
)
def test_samplers_stay_within_bounds(model: Any, usual: float, text: str) -> None:
    """Not only finite: latents of the size that a network of this kind gives."""
    out = _run(model, text)
    assert bool(out.isfinite().all())
    assert float(out.abs().max()) < 5 * usual


def test_a_sample_does_not_depend_on_its_batch(model: Any) -> None:
    together = _run(model, "zigzag(steps=4, guidance=4)")
    call = resolve(parse_call("zigzag(steps=4, guidance=4)"), {})
    alone = run_sampler(
        model, call, model.encode(PROMPTS[1:]), model.encode_negative([None]),
        NoiseStreams([1], (4, 8, 8), dtype=torch.float64),
    ).native  # fmt: skip
    torch.testing.assert_close(alone[0], together[1], atol=1e-4, rtol=0)


def test_times_are_a_thousand_t(model: Any) -> None:
    sigmas = torch.tensor([0.0, 0.25, 1.0, 9.0], dtype=torch.float64)
    times = model.time_of(sigmas)
    torch.testing.assert_close(times, torch.tensor([0, 200, 500, 900], dtype=torch.float64))
    torch.testing.assert_close(model.sigma_of(times), sigmas)
    first = model.ladder(5)[0]
    assert model.time_of(first) == 1000
    assert model.sigma_of(torch.tensor(1000.0)) == first


def test_size_of_the_folder_and_its_multiple(folder: Path, model: Any) -> None:
    entry = find(str(folder))
    assert (entry.size, entry.size_multiple, entry.gpu_dtype) == ((64, 64), 16, "bfloat16")
    assert model.latent_shape((96, 64)) == (4, 12, 8)
    with pytest.raises(HarnessError, match="up to 192 pixels a side, not 208x64"):
        model.latent_shape((208, 64))


def test_the_released_inversion_is_refused(folder: Path) -> None:
    call = resolve(parse_call("zigzag(steps=4, inversion=released)"), {})
    with pytest.raises(HarnessError, match="use inversion=exact"):
        rehearse(find(str(folder)).ladders({}), call)


def test_another_network_in_the_pipeline(
    folder: Path, pipeline: Any, model: Any, tmp_path: Path
) -> None:
    other = stable_diffusion_3().transformer
    with torch.no_grad():
        other.proj_out.bias.add_(1.0)
    other.save_pretrained(tmp_path / "transformer")
    spec = f"{folder}(transformer={tmp_path})"
    ours, plain = (_run(m, "ddim(steps=3, guidance=1)") for m in (load(spec), model))
    assert not torch.allclose(ours, plain, atol=1e-3)
    assert find(spec).revision() != find(str(folder)).revision()
    with pytest.raises(HarnessError, match="there is no folder"):
        load(f"{folder}(transformer=./nowhere)")


@pytest.mark.slow
def test_a_benchmark_from_end_to_end(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["bench", "zigzag(steps=2)", "--bench", "shapes", "--model", str(folder)]
    arguments += ["--limit", "2", "--results", str(tmp_path), "--workers", "1"]
    arguments += ["--metrics", "shapes-alignment"]
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    assert list(tmp_path.rglob("report.md"))
