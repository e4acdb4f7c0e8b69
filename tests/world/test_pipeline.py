"""The shipped pipeline folder: complete, small, readable, and loaded without a network."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness

PACKAGE = Path(harness.__file__).parent
FOLDER = PACKAGE / "models" / "shapes" / "pipeline"

torch = pytest.importorskip("torch")


def test_all_weights_together_are_small_and_readable() -> None:
    files = [*FOLDER.rglob("*.safetensors"), *(PACKAGE / "world").rglob("*.safetensors")]
    assert len(files) == 5
    assert sum(path.stat().st_size for path in files) <= 15_000_000
    for path in FOLDER.rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o444 == 0o444
        if path.suffix == ".json":
            assert "_name_or_path" not in path.read_text()


def test_the_pipeline_loads_offline_and_draws() -> None:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(FOLDER, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    assert pipe.unet.dtype == pipe.vae.dtype == pipe.text_encoder.dtype == torch.float32
    generator = torch.Generator().manual_seed(0)
    size = {"height": 64, "width": 64}
    pictures = pipe(
        ["a red circle", "two blue stars"],
        guidance_scale=4.0,
        num_inference_steps=4,
        output_type="np",
        generator=generator,
        **size,
    ).images
    assert pictures.shape == (2, 64, 64, 3)
    assert pictures.std() > 0.05


def test_every_word_of_the_grammar_is_one_token() -> None:
    from transformers import CLIPTokenizer

    from harness.world.grammar import captions

    words = CLIPTokenizer.from_pretrained(FOLDER / "tokenizer", local_files_only=True)
    for held in (False, True):
        for caption in captions(held)[::97]:
            assert len(words(caption)["input_ids"]) == len(caption.split()) + 2
