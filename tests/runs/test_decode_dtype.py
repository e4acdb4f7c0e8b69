"""The decoder's precision as a setting of a model: in a run's identity, and refused where it means
nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import harness
from harness.core.errors import HarnessError
from harness.experiments.inputs import decoded_in
from harness.experiments.order import make_order
from harness.models.load import load
from harness.models.pipelines.pipeline_model import PipelineModel
from harness.runs.plan import plan
from tests.conftest import TINY_SDXL


def test_it_is_a_setting_of_the_model_and_of_the_run() -> None:
    plain, half = (
        plan(decoded_in("shapes", dtype), "ddim(steps=2)").spec for dtype in (None, "bfloat16")
    )
    assert plain.model == "shapes"
    assert half.model == "shapes(decode_dtype=bfloat16)"
    assert plain.run_id != half.run_id
    assert decoded_in("shapes(decode_dtype=bfloat16)", "bfloat16") == half.model
    order = make_order("ddim", model="shapes", decode_dtype="bfloat16", device="cpu")
    assert order.model == half.model


def test_a_pipeline_decodes_in_it() -> None:
    model = load(f"{TINY_SDXL}(decode_dtype=bfloat16)", size=(64, 64))
    assert isinstance(model, PipelineModel)
    native = torch.randn(1, *model.latent_shape((64, 64)))
    pictures = model.decode(native)
    assert model.vae.dtype == torch.bfloat16
    assert model.net.dtype == torch.float32
    exact = load(str(TINY_SDXL), size=(64, 64)).decode(native)
    assert not torch.equal(pictures, exact)
    assert float((pictures.float() - exact.float()).abs().mean()) < 2  # of 255


def test_the_command_and_python_take_it(tmp_path: Path) -> None:
    made = harness.generate(
        "ddim(steps=1)",
        prompts=_prompts(tmp_path),
        out=tmp_path / "run",
        decode_dtype="bfloat16",
        device="cpu",
    )
    assert not isinstance(made, list)
    spec = json.loads((tmp_path / "run" / "run.json").read_text())["spec"]
    assert spec["model"] == "shapes(decode_dtype=bfloat16)"


def _prompts(folder: Path) -> Path:
    file = folder / "prompts.txt"
    file.write_text("a red circle\n")
    return file


@pytest.mark.parametrize(
    ("model", "dtype", "reason"),
    [
        ("gmm", "float16", "gmm has no decoder"),
        ("shapes-edm", "float16", "shapes-edm has no decoder"),
        ("shapes", "float61", "'float61' must be float32 or float16 or bfloat16"),
        ("edm2-img512-s-guid-fid", "int8", "unknown decode_dtype 'int8'"),
        ("shapes(decode_dtype=float32)", "float16", "contradicts"),
    ],
)
def test_what_it_means_nothing_for_is_refused(model: str, dtype: str, reason: str) -> None:
    with pytest.raises(HarnessError, match=reason):
        plan(decoded_in(model, dtype), "ddim(steps=2)")
