"""Captured pipelines against their own calls, on tiny random weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.engine.batch import run_sampler
from harness.engine.noise import NoiseStreams
from harness.engine.rehearsal import rehearse
from harness.engine.resolve import resolve
from harness.models.base import LoadRequest
from harness.models.load import find, load
from harness.models.pipelines.capture.captured_entry import load_captured
from harness.models.pipelines.capture.own_noise import our_noise
from tests.conftest import TINY_SDXL, Certify
from tests.models.tiny_captured import SIDE, TINY
from tests.models.tiny_captured_more import MORE, hidream
from tests.models.tiny_pipelines import stable_diffusion_3

SIZE = (SIDE, SIDE)
PROMPTS = ["a red cat on the house", "blue dog"]
QUICK = ("flux", "z-image", "lumina2", "dit")
STEPS = 5
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text()

ALL = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in {**TINY, **MORE}
]


@dataclass
class Pair:
    """A pipeline of diffusers and its folder, captured."""

    pipeline: Any
    folder: Path
    model: Any


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    @cache
    def made(name: str) -> Pair:
        if name == "kolors":
            pytest.importorskip("sentencepiece")
        folder = tmp_path_factory.mktemp(name)
        pipeline = {**TINY, **MORE}[name]()
        pipeline.save_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                part.eval()
        if "solver_order" in pipeline.scheduler.config:  # a multistep scheduler: of order 1, DDIM
            settings = pipeline.scheduler.config
            pipeline.scheduler = type(pipeline.scheduler).from_config(settings, solver_order=1)
        return Pair(pipeline, folder, load(str(folder), size=SIZE))

    return made


def _texts(model: Any) -> list[Any]:
    return PROMPTS if model.classes is None else ["class 3", "class 7"]


def _noise(model: Any, seeds: Any = (0, 1)) -> NoiseStreams:
    return NoiseStreams(list(seeds), model.latent_shape(SIZE), dtype=model.state_dtype)


def _call(model: Any, text: str) -> Any:
    return resolve(parse_call(text), {"guidance_norm": True} if model.reading.norm else {})


def _ours(model: Any, text: str, rows: slice = slice(None)) -> Any:
    texts = _texts(model)[rows]
    negative = model.encode_negative([None] * len(texts))
    noise = _noise(model, range(2)[rows])
    return run_sampler(model, _call(model, text), model.encode(texts), negative, noise)


def _theirs(pair: Pair, row: int, steps: int, output: str) -> tuple[Any, int]:
    """The pipeline's own call for one prompt, from our noise; and its network's rows."""
    model, pipeline, rows = pair.model, pair.pipeline, []

    def count(network: Any, args: Any, kwargs: Any) -> None:
        rows.append(len(args[0] if args else next(iter(kwargs.values()))))

    question = model.question(3 + 4 * row if model.classes else PROMPTS[row], steps)
    counting = getattr(pipeline, model.part).register_forward_pre_hook(count, with_kwargs=True)
    own, noise = model.reading.noise, _noise(model, [row])()
    if own.latents is not None:  # as users give it
        question["latents"] = own.latents.arranged(noise)
    with our_noise(pipeline, own, noise):
        made = pipeline(**question | {"output_type": output})[0]
    counting.remove()
    return made, sum(rows)


@pytest.mark.golden
@pytest.mark.parametrize("name", ALL)
def test_latents_pictures_and_evaluations_are_the_pipelines_own(
    name: str, pair: Callable[[str], Pair], certify: Certify
) -> None:
    """Of prompts of two lengths in one batch, each as the pipeline makes it alone."""
    both = pair(name)
    model = both.model
    steps = 1 if name == "lcm" else STEPS  # beyond one, LCM's own scheduler draws noise
    batch = _ours(model, f"ddim(steps={steps}, guidance={model.reading.weight!r})")
    pictures = model.decode(batch.native)
    for row in (0, 1):
        made, rows = _theirs(both, row, steps, "np")
        theirs = torch.from_numpy(np.asarray(made)[0] * 255).round()
        assert float((pictures[row].permute(1, 2, 0).float() - theirs).abs().max()) <= 1
        assert sum(each[row] for each in batch.evaluations.values()) == rows
        if model.classes is None:
            latents, _ = _theirs(both, row, steps, "latent")
            ours = batch.native[row : row + 1].reshape(latents.shape)
            for what in (f"network {model.plan.form.name}", *["norm"] * bool(model.reading.norm)):
                atol = 1e-4 * float(latents.abs().max())
                certify(what, ours, latents, atol=atol, reference="diffusers")
        else:  # its call gives pictures only: their levels of 255
            levels = pictures[row].permute(1, 2, 0)
            certify(
                f"network {model.plan.form.name}", levels, theirs, atol=1, reference="diffusers"
            )
    assert float(pictures.float().std()) > 1
    assert model.record["self-check"]["error"] < 1e-5  # what docs/models.md says of every class
    assert f"`{model.plan.form.name}`" in PAGE


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["flux", "z-image", pytest.param("lcm", marks=pytest.mark.slow)])
def test_in_half_precision_it_agrees_to_rounding(
    name: str, dtype: str, pair: Callable[[str], Pair]
) -> None:
    model: Any = load(str(pair(name).folder), dtype=dtype, size=SIZE)
    check = model.record["self-check"]
    assert check["error"] < check["tolerance"] / 4
    assert model.dtype == getattr(torch, dtype)


def _runs(model: Any) -> list[str]:
    flow = model.state_dtype == torch.float64
    middle = [[3, 2, 0.3, 2.0]]
    if model.reading.uncond is None:
        return [
            "dpmpp_2m(steps=4, guidance=1)",
            f"restart(steps=5, guidance=1, intervals={middle})",
            "zigzag(steps=4, guidance=1, inversion_guidance=1)",
        ]
    norm = ", guidance_norm=false" if flow else ""
    return [
        "dpmpp_2m(steps=4, guidance=4)",
        "zigzag(steps=4, guidance=4)",
        "w2sd(steps=4, guidance=4, strong_guidance=4, weak_guidance=1)",
        f"restart(steps=5, guidance=4, intervals={middle})",
        f"ddim(steps=4, guidance=4{', shift=2' if flow else ', spacing=karras'})",
        f"ddim(steps=4, guidance=4, interval=[0.3, 30]{norm})",
    ]


@pytest.mark.parametrize("name", ALL)
def test_samplers_run_on_it(name: str, pair: Callable[[str], Pair]) -> None:
    """Finite, evaluated as planned without weights, and independent of the batch."""
    both = pair(name)
    model = both.model
    ladders = find(str(both.folder)).ladders({}).at(SIZE)  # type: ignore[attr-defined]
    usual = float(
        _ours(model, f"ddim(steps=4, guidance={model.reading.weight})").native.abs().max()
    )
    for text in _runs(model):
        together = _ours(model, text)
        assert float(together.native.abs().max()) < 10 * usual, text
        branch = model.reading.uncond is not None
        _, planned = rehearse(ladders, _call(model, text), unconditional=branch)
        made = {key: counts[0] for key, counts in together.evaluations.items()}
        assert made == planned, text
        alone = _ours(model, text, slice(1, 2)).native
        error = (alone[0] - together.native[1]).abs().max() / alone.abs().max()
        assert float(error) < 1e-4, text


@pytest.mark.slow
def test_a_pipeline_of_one_size(tmp_path: Path) -> None:
    """HiDream makes pictures of one area and is refused others; at its own it agrees."""
    hidream().save_pretrained(tmp_path)
    with pytest.raises(HarnessError, match="makes no pictures of 512x512, but of others"):
        load(str(tmp_path), size=(512, 512))
    model: Any = load(str(tmp_path))
    assert model.record["self-check"]["error"] < 1e-4
    assert model.reading.sign == -1


@pytest.fixture(scope="module")
def written_out(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of Stable Diffusion 1.5, XL and 3."""
    folder = tmp_path_factory.mktemp("sd3")
    stable_diffusion_3().save_pretrained(folder)
    shapes = Path(__file__).parents[2] / "harness" / "models" / "shapes" / "pipeline"
    return [shapes, TINY_SDXL, folder]


@pytest.mark.parametrize("at", range(3))
def test_capture_is_the_written_out_family(at: int, written_out: list[Path]) -> None:
    folder = written_out[at]
    captured: Any = load_captured(LoadRequest({}, "cpu", "float32", SIZE), folder, "captured")
    ends = "(set_alpha_to_one=true)" if folder == TINY_SDXL else ""  # as its own Euler does
    own: Any = load(f"{folder}{ends}")
    call = _call(captured, "zigzag(steps=6, guidance=4, sigma_min=0.1)")
    made = []
    for model in (captured, own):
        away = model.encode_negative([None, "tree"])
        batch = run_sampler(model, call, model.encode(PROMPTS), away, _noise(captured))
        made.append((batch.native.double(), model.decode(batch.native), batch.evaluations))
    ours, theirs = made
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-4 * float(theirs[0].abs().max()), rtol=0)
    assert float((ours[1].int() - theirs[1].int()).abs().max()) <= 1
    assert ours[2] == theirs[2]


def test_no_captured_class_is_known_by_its_name() -> None:
    """Whatever docs/models.md lists as tried runs without a word of it in the code."""
    tried = re.findall(r"^\| `(\w+Pipeline)` \|", PAGE, re.MULTILINE)
    known = {"StableDiffusionXLPipeline"}  # captured with another scheduler than its own
    code = "".join(file.read_text() for file in (ROOT / "harness").rglob("*.py"))
    assert len(tried) >= 15
    assert [name for name in tried if re.search(rf"\b{name}\b", code)] == sorted(known)


@pytest.mark.parametrize("name", [one for one in ALL if one.values[0] != "lumina2"])
def test_sampling_never_waits_for_the_device(name: str, pair: Callable[[str], Pair]) -> None:
    """Its network and states lie on "meta", which has no values to be looked at.

    Lumina 2's own network reads the lengths of its prompts there.
    """
    model, meta = load(str(pair(name).folder), size=SIZE), torch.device("meta")
    texts = _texts(model)
    negative = model.encode_negative([None] * len(texts))
    conditions = model.encode(texts), negative
    if model.classes is not None:  # captured at first use
        model._rows_of(conditions[0])
    model.net.to(meta)
    model.device = meta
    noise = NoiseStreams([0, 1], model.latent_shape(SIZE), dtype=model.state_dtype, device=meta)
    call = _call(model, f"ddim(steps=3, guidance={2 if negative else 1})")
    assert run_sampler(model, call, *conditions, noise).native.device == meta
