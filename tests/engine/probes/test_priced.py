"""What a picture costs, counted without making it, is what is counted while it is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.core.shards import Prompt
from harness.engine.ensemble import Ensemble
from harness.engine.probes.macs import Ledger, count_macs
from harness.engine.probes.priced import PricedNetwork
from harness.runs.loaded import open_models
from harness.runs.plan import PlannedRun, plan
from harness.samplers.base import SAMPLERS
from tests.conftest import TINY_SDXL
from tests.models.tiny_captured import SIDE, TINY
from tests.models.tiny_captured_more import MORE
from tests.models.tiny_pipelines import hunyuan_dit, stable_diffusion_3

GOLDEN = TINY_SDXL.parents[1]
LORA = TINY_SDXL.parent / "lora" / "tiny_unet.safetensors"
PFGM = GOLDEN / "restart" / "nets" / "samp_pfgmpp.safetensors"


def _text(models: Ensemble) -> str:
    text = "a red cat" if models.model.classes is None else "class 1"
    return {"gmm": "class 1", "samp_pfgmpp": ""}.get(models.model.name, text)


def _counted(models: Ensemble, job: PlannedRun) -> Ledger:
    return count_macs(models, job.spec, Prompt("p0", _text(models)))


def _check(
    models: Ensemble, job: PlannedRun, monkeypatch: pytest.MonkeyPatch, most: int = 0
) -> Ledger:
    """Equal figures, with at most so many calls of the network whose weights are loaded."""
    calls = [0]
    net = getattr(models.model, "net", None)

    def call(module: Any, *_: Any) -> None:
        calls[0] += module is net

    models.encode([_text(models)], [None], job.spec.sampler)
    hook = net.register_forward_pre_hook(call) if net is not None else None
    counted = _counted(models, job)
    if hook:
        hook.remove()
    assert calls[0] <= most
    with monkeypatch.context() as patch:
        patch.setattr(PricedNetwork, "start", None)  # a picture is made in its place
        if "lora" in job.spec.sampler.params:
            _counted(models, job)  # merges it, which is no evaluation
        assert _counted(models, job) == counted
    return counted


@pytest.fixture(scope="module")
def shapes_models() -> Ensemble:
    return open_models(plan("shapes", "ddim(steps=2)"), "cpu")


POLICIES = [
    "guidance=1",
    "guidance=0",
    "interval_steps=[1, 1]",
    "apg_eta=0.2, apg_momentum=-0.5",
    "pag_scale=2",
    "pag_scale=2, pag_layers=[up_blocks], interval_steps=[1, 1]",
    "seg_scale=2",
    "seg_scale=2, seg_blur=1",
    "slg_scale=2, slg_layers=['mid_block.attentions.0.transformer_blocks.0']",
]
POLICY_TEXTS = [f"ddim(steps=3, {text})" for text in POLICIES]
SAMPLER_TEXTS = [f"{name}(steps=3)" for name in SAMPLERS.names() if name not in ("w2sd", "asyndm")]
QUICK = ("cfgpp(steps=3)", "heun(steps=3)", "dpmpp_sde(steps=3)", "zigzag(steps=3)")
TEXTS = [
    pytest.param(text, marks=() if text in QUICK else pytest.mark.slow) for text in SAMPLER_TEXTS
]
TEXTS += [pytest.param(text) for text in POLICY_TEXTS]
TEXTS += [pytest.param("zigzag(steps=3, pag_scale=1, inversion_guidance=0)")]
TEXTS += [pytest.param("w2sd(steps=3, weak_model=shapes)")]


@pytest.mark.parametrize("text", TEXTS)
def test_no_picture_is_made_of_a_sampler_or_policy(
    shapes_models: Ensemble, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = _check(shapes_models, plan("shapes", text), monkeypatch)
    assert counted.picture > counted.evaluation > 1e6


def test_asyndm_looks_into_the_network(
    shapes_models: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = plan("shapes", "asyndm(steps=3)")
    assert job.nfe
    _check(shapes_models, job, monkeypatch, most=job.nfe)


def test_a_sampler_that_looks_at_values_makes_a_picture(
    shapes_models: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "peeks.py").write_text(
        "def peeks(denoise, x, sigmas, noise, *, guidance=2.0):\n"
        "    for sigma in sigmas[:-1]:\n"
        "        if x.abs().max() > 0:\n"
        "            x = denoise(x, sigma, guidance=guidance)\n"
        "    return x\n"
    )
    job = plan("shapes", f"{tmp_path}/peeks.py:peeks(steps=3)")
    counted = _check(shapes_models, job, monkeypatch, most=3)
    assert counted.picture == 6 * counted.evaluation


LONG = ("LoRA", "XL in bfloat16")
MODELS = {
    "gmm": ("gmm", "heun(steps=3)", {}),
    "EDM with a guide": ("shapes-edm", "heun(steps=3, guidance=2)", {"guide": "shapes-edm-uncond"}),
    "EDM churned": ("shapes-edm", "edm(steps=3, s_churn=5)", {}),
    "PFGM++": (str(PFGM), "restart(steps=5, intervals=[[3, 2, 0.1, 5.0]], guidance=1)", {}),
    "XL": (str(TINY_SDXL), "zigzag(steps=3)", {"size": (64, 64)}),
    "XL in bfloat16": (str(TINY_SDXL), "ddim(steps=2)", {"size": (64, 64), "dtype": "bfloat16"}),
    "LoRA": (
        str(TINY_SDXL),
        f"w2sd(steps=3, lora={LORA}, strong_scale=1.5, weak_scale=-1.5, scale=1, pag_scale=1)",
        {"size": (64, 64)},
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in MODELS],
)
def test_nor_of_a_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sampler, about = MODELS[name]
    job = plan(model, sampler, **about)
    _check(open_models(job, "cpu"), job, monkeypatch)


NAMES = [*TINY, *MORE, "stable-diffusion-3", "hunyuan-dit"]
for _name in ("cogview4", "qwen-image"):  # these tiny ones have no ladder of one step
    NAMES.remove(_name)
NAMES.remove("sana")  # torch's counter fails on weights that a module is called with
LOOKING = {"z-image", "lumina2"}  # whose networks look at values: two kinds, one in two calls


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_nor_of_a_pipeline(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"stable-diffusion-3": stable_diffusion_3}
    if name == "kolors":
        pytest.importorskip("sentencepiece")
    if name == "hunyuan-dit":
        pipeline = hunyuan_dit(tmp_path, sizes=True)
    else:
        pipeline = {**TINY, **MORE, **more}[name]()
    pipeline.save_pretrained(tmp_path / "model")
    job = plan(str(tmp_path / "model"), "ddim(steps=3)", size=(SIDE, SIDE))
    models = open_models(job, "cpu")
    counted = _check(models, job, monkeypatch, most=3 if name in LOOKING else 0)
    assert counted.picture > 0
