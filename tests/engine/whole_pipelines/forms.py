"""Functions of a pipeline for tests: those of docs/pipelines.md, and short ones."""

from __future__ import annotations

import re
from pathlib import Path

_PAGE = Path(__file__).parents[3] / "docs" / "pipelines.md"
EARLY, ZIGZAG, BEST_OF_TWO = re.findall(r"^```python\n(.*?)^```", _PAGE.read_text(), re.M | re.S)

OWN_CALL = """
def run(pipeline, prompts, latents, generators, steps: int = 10, guidance: float = 5.5):
    return pipeline(prompts, latents=latents, generator=generators, num_inference_steps=steps,
                    guidance_scale=guidance, output_type="latent").images
"""
"""The pipeline's own call, from our noise."""


def written(folder: Path, text: str, function: str = "run") -> str:
    """The sampler of a function in a file of this text."""
    (folder / "mine.py").write_text(text)
    return f"pipeline:{folder}/mine.py:{function}"


def returning(what: str, before: str = "") -> str:
    """A function that calls the pipeline, and returns something made of its latents `z`."""
    return f"""
import numpy as np
import torch

def run(pipeline, prompts, latents, generators, steps: int = 2):
    {before or "pass"}
    z = pipeline(prompts, latents=latents, num_inference_steps=steps, output_type="latent").images
    return {what}
"""
