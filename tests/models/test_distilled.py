"""Networks that take guidance as an input: declared, fed, and told as their runs' scale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel

from harness.comparison.guidance_scales import guidance_scale
from harness.core.errors import HarnessError
from harness.core.shards import plan_shards
from harness.experiments.bench import compare_fairly
from harness.models.embedded import _FOLDER as SHAPES
from harness.models.load import load
from harness.prompts.base import load_prompts
from harness.runs.folder import Settings, open_run
from harness.runs.make import generate
from harness.runs.plan import plan
from harness.store.run import Run

SETTING = "distilled_guidance"


def make(folder: Path, sampler: str, model: str) -> Run:
    job, settings = plan(model, sampler), Settings("cpu", 1, None)
    run = open_run(job, str(folder / job.folder), settings)
    shards = plan_shards(list(load_prompts("shapes", limit=2).prompts), [0])
    generate([(job, run, shard) for shard in shards], settings)
    return run


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded pipeline with a small network that has an embedding of guidance."""
    folder = tmp_path_factory.mktemp("distilled") / "pipeline"
    pipeline = DiffusionPipeline.from_pretrained(SHAPES)
    settings = {**pipeline.unet.config, "time_cond_proj_dim": 16, "block_out_channels": [32]}
    torch.manual_seed(0)
    pipeline.unet = UNet2DConditionModel.from_config({**settings, "norm_num_groups": 8})
    pipeline.save_pretrained(folder)
    return folder


def test_what_a_network_takes_must_be_declared_before_weights_load(distilled: Path) -> None:
    with pytest.raises(HarnessError, match=f"declare it.*{SETTING}=8"):
        plan(str(distilled), "ddim(steps=2)")
    with pytest.raises(HarnessError, match="does not take guidance as an input"):
        plan(f"shapes({SETTING}=8)", "ddim(steps=2)")
    with pytest.raises(HarnessError, match="at least 1"):
        plan(f"{distilled}({SETTING}=high)", "ddim(steps=2)")
    with pytest.raises(HarnessError, match="no unconditional branch"):
        plan(f"{distilled}({SETTING}=8)", "ddim(steps=2, guidance=3)")


def test_the_network_gets_the_embedding_of_its_pipeline(distilled: Path) -> None:
    model = load(f"{distilled}({SETTING}=8)")
    z = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    time, condition = torch.full((2,), 500.0), model.encode(["a red circle", "two blue squares"])
    scales = torch.tensor([7.0, 7.0])  # diffusers embeds w - 1
    embedding = model.pipeline.get_guidance_scale_embedding(scales, embedding_dim=16)
    text = condition["text"]
    with torch.inference_mode():
        expected = model.net(z, time, encoder_hidden_states=text, timestep_cond=embedding).sample
        torch.testing.assert_close(model.evaluate(z, time, condition), expected, rtol=0, atol=0)
        model.distilled = 2.0
        assert (model.evaluate(z, time, condition) - expected).abs().max() > 1e-4


def test_the_declared_scale_is_that_of_its_runs_and_matched_already(
    distilled: Path, tmp_path: Path
) -> None:
    model = f"{distilled}({SETTING}=8)"
    a, b = (make(tmp_path, text, model) for text in ("heun(steps=2)", "ddim(steps=2)"))
    scale = guidance_scale(a)
    assert (scale.value, scale.declared, scale.reason) == (8.0, True, None)
    out = str(tmp_path / "out")
    found = compare_fairly(a, b, metrics=["contrast"], out=out, device="cpu", workers=1)
    assert found.same == {"matched guidance": "own", "matched cost and guidance": "matched cost"}
    assert not found.absent
    assert found.candidate.guidance.value == 8.0
    assert json.loads((Path(a.path) / "run.json").read_text())["spec"]["model"] == (
        f"pipeline({SETTING}=8)"
    )
