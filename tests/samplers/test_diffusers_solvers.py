"""Schedulers of diffusers as samplers: against our own, closed forms, and their own pipelines."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError
from harness.engine.batch import Batch, run_sampler
from harness.engine.noise import NoiseStreams, RecordedNoise
from harness.engine.probes.independence import check_independent
from harness.engine.rehearsal import rehearse
from harness.engine.resolve import resolve
from harness.models.load import find, load
from harness.samplers.base import SAMPLERS
from harness.samplers.diffusers_solvers import REFUSED, SHORT, SOLVERS
from tests.models.tiny_pipelines import stable_diffusion_3

ALL = [*(f"diffusers:{name}" for name in SOLVERS), *SHORT]
WHOLE_TIMES = {"diffusers:LCM", "diffusers:TCD", "lcm", "tcd"}
SLOPES = {f"diffusers:{name}" for name, solver in SOLVERS.items() if solver.top < math.inf}
SLOPES |= {"dpm2", "dpm2_ancestral"}

EDM_SIDE = 32
SDE = "algorithm_type='sde-dpmsolver++'"
SINGLE, MULTI = "diffusers:DPMSolverSinglestep", "diffusers:DPMSolverMultistep"
CLASSES, WORDS = ("class 1", "class 4"), ("a cat", "a red hat")


def _call(text: str, **params: Any) -> Call:
    asked = parse_call(text)
    return resolve(Call(asked.name, {**asked.params, **params}), {})


def _run(
    model: Any, call: Call, prompts: tuple[str, ...], keys: Any = None, noise: Any = None
) -> Batch:
    size = {"gmm": 8, "shapes-edm": EDM_SIDE}.get(model.name, 64)
    shape = model.latent_shape((size, size))
    noise = noise or NoiseStreams(keys or range(len(prompts)), shape, dtype=model.state_dtype)
    away = model.encode_negative([None] * len(prompts)) if model.classes is None else None
    return run_sampler(model, call, model.encode(list(prompts)), away, noise)


SAME = [
    ("ddim", "diffusers:DDIM", {}),
    ("ddim", "diffusers:DDIM", {"eta": 0.6}),
    ("ddim", "diffusers:Euler", {}),
    ("ddim", "diffusers:EDMEuler", {}),
    ("ddim", "diffusers:FlowMatchEuler", {}),
    ("dpmpp_2m", MULTI, {}),
    ("dpmpp_2m", "diffusers:EDMDPMSolverMultistep", {}),
    ("euler_ancestral", "diffusers:EulerAncestral", {}),
    ("heun", "diffusers:Heun", {}),
    ("unipc", "diffusers:UniPCMultistep", {}),
]


@pytest.mark.golden
@pytest.mark.parametrize("which", ["gmm", "tiny_sdxl"])
@pytest.mark.parametrize(("own", "theirs", "options"), SAME)
def test_a_scheduler_is_our_sampler_of_that_name(
    request: pytest.FixtureRequest,
    certify: Any,
    own: str,
    theirs: str,
    options: dict[str, Any],
    which: str,
) -> None:
    """On ladders that end at 0 (gmm) and above. The tolerance is for states rounded to float32."""
    model, prompts = request.getfixturevalue(which), CLASSES if which == "gmm" else WORDS
    ours, found = (
        _run(model, _call(name, steps=16, guidance=3, **options), prompts) for name in (own, theirs)
    )
    certify(theirs, found.native, ours.native, atol=2e-5, reference=f"our own {own}")
    assert found.evaluations == ours.evaluations


CONVERGING = [  # LMS's last step to 0 is not Euler's: from 0.002 there is no difference
    ("diffusers:FlowMatchHeun", 2, 0.05),
    ("flow_heun", 2, 0.05),
    ("diffusers:KDPM2", 2, 0.05),
    ("dpm2", 2, 0.05),
    ("diffusers:LMS(order=2)", 2, 0.002),
    ("lms(order=3)", 3, 0.002),
    ("diffusers:DEISMultistep", 2, 0.05),
    ("deis", 2, 0.05),
    ("deis(solver_order=3)", 3, 0.05),
    (f"{MULTI}(solver_type=heun)", 2, 0.05),
    ("dpmpp_3m", 3, 0.05),
    (SINGLE, 2, 0.05),
    ("dpmpp_2s", 2, 0.05),
    ("dpmpp_3s", 3, 0.05),
    ("unipc_3", 3, 0.05),
    ("unipc_bh1", 3, 0.05),  # UniPC's corrector adds an order to its second
    ("diffusers:UniPCMultistep(predict_x0=false)", 3, 0.05),
    ("diffusers:SASolver(tau=0)", 2, 0.05),
    ("sa_solver(tau=0, predictor_order=3, corrector_order=3)", 3, 0.05),
    ("sa_solver(tau=0, algorithm_type=noise_prediction)", 2, 0.05),
]


@pytest.mark.slow
@pytest.mark.golden
@pytest.mark.parametrize(("text", "order", "low"), CONVERGING)
def test_the_order_of_convergence_on_the_exact_mixture(
    certify: Any, text: str, order: int, low: float
) -> None:
    """By the errors of 40 and 160 steps against 1500 of Heun's, no less than the order less 0.6."""

    def ended(text: str, steps: int) -> torch.Tensor:
        call = _call(text, steps=steps, guidance=2, sigma_max=20.0, sigma_min=low)
        return _run(load("gmm"), call, CLASSES).native

    fine = _fine(low)
    coarse, close = (ended(text, steps) for steps in (40, 160))
    slope = math.log(float((coarse - fine).norm() / (close - fine).norm()), 4)
    assert slope > order - 0.6, slope
    certify(parse_call(text).name, close, fine, atol=1e-3, reference="the exact mixture's flow")


@lru_cache
def _fine(low: float) -> torch.Tensor:
    call = _call("heun", steps=1500, guidance=2, sigma_max=20.0, sigma_min=low)
    return _run(load("gmm"), call, CLASSES).native


MOMENTS = {  # the deviation's relative error at 200 steps; those of first order have the most
    "diffusers:DDIM(eta=1)": 0.05,
    "diffusers:EulerAncestral": 0.05,
    "diffusers:KDPM2Ancestral": 0.03,
    "dpm2_ancestral": 0.03,
    f"{MULTI}({SDE})": 0.03,
    "dpmpp_2m_sde": 0.03,
    "dpmpp_2m_sde(solver_type=heun)": 0.03,
    "dpmpp_3m_sde": 0.04,
    "dpmpp_sde": 0.07,
    f"{SINGLE}({SDE})": 0.07,
    f"diffusers:EDMDPMSolverMultistep({SDE})": 0.03,
    "sa_solver": 0.02,
    "diffusers:SASolver": 0.02,
    "sa_solver(algorithm_type=noise_prediction)": 0.02,
    "sa_solver(predictor_order=3, corrector_order=3)": 0.03,
}


@pytest.mark.slow
@pytest.mark.golden
@pytest.mark.parametrize("text", MOMENTS)
def test_stochastic_ones_give_the_classes_own_mean_and_covariance(
    certify: Any, gmm: Any, text: str
) -> None:
    """64 pictures of 192 values: the deviation's standard error is 0.7 %, that of a mean 12.5 %."""
    prompts = ("class 3",) * 64
    pictures = _run(gmm, _call(text, steps=200, guidance=1), prompts).native
    residual = (pictures - gmm.means[3]).flatten(1) / 0.1
    name, about = parse_call(text).name, "the mixture's own deviation"
    certify(name, [0.1 * residual.std()], [0.1], atol=0.1 * MOMENTS[text], reference=about)
    assert float(residual.mean(0).square().mean()) == pytest.approx(1 / 64, rel=0.35)
    between = residual.T @ residual / 64 - torch.eye(192)  # off it, a normal of deviation 1/8
    off = between[~torch.eye(192, dtype=torch.bool)]
    assert float(off.std()) == pytest.approx(1 / 8, rel=0.2)
    assert abs(float(off.mean())) < 0.01


def _own_draws(keys: range) -> tuple[torch.Tensor, list[torch.Generator]]:
    """The first draw of each image's stream, and the generators, which go on as ours do."""
    generators = [torch.Generator().manual_seed(key) for key in keys]
    return torch.stack([torch.randn(4, 8, 8, generator=g) for g in generators]), generators


PIPELINES = [
    ("lcm", "LCMScheduler", {}, {"guidance": 1.0}),
    ("diffusers:LCM", "LCMScheduler", {}, {"guidance": 3.0}),
    ("tcd", "TCDScheduler", {}, {"guidance": 1.0, "eta": 0.3}),
    ("diffusers:TCD", "TCDScheduler", {}, {"guidance": 3.0, "eta": 0.8}),
    ("deis", "DEISMultistepScheduler", {}, {}),
    ("deis", "DEISMultistepScheduler", {"solver_order": 3}, {}),
    ("sa_solver", "SASolverScheduler", {}, {}),
    ("dpmpp_3m", "DPMSolverMultistepScheduler", {"solver_order": 3}, {}),
    ("dpmpp_2m_sde", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, {}),
    (
        "dpmpp_3m_sde",
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver++", "solver_order": 3},
        {},
    ),
    ("unipc_3", "UniPCMultistepScheduler", {"solver_order": 3}, {}),
    ("unipc_bh1", "UniPCMultistepScheduler", {"solver_type": "bh1"}, {}),
]


@pytest.mark.golden
@pytest.mark.parametrize(("text", "kind", "config", "params"), PIPELINES)
def test_a_pipeline_with_that_scheduler_gives_the_same(
    certify: Any,
    tiny_sdxl: Any,
    text: str,
    kind: str,
    config: dict[str, Any],
    params: dict[str, Any],
) -> None:
    """Its own ladder is ours: `lcm`, or `trailing` down to the family's last level."""
    own = tiny_sdxl.pipeline.scheduler.config
    settings = {key: value for key, value in own.items() if key[0] != "_"} | config
    if kind not in ("LCMScheduler", "TCDScheduler"):
        settings |= {"timestep_spacing": "trailing", "final_sigmas_type": "sigma_min"}
        params = {**params, "spacing": "trailing"}
    parts = dict(tiny_sdxl.pipeline.components)
    parts["scheduler"] = getattr(diffusers, kind).from_config(settings)
    pipeline = diffusers.StableDiffusionXLPipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)
    latents, generators = _own_draws(range(2))
    guidance = params.get("guidance", 4.0)
    theirs = pipeline(
        prompt=list(WORDS),
        num_inference_steps=4,
        guidance_scale=guidance,
        latents=latents,
        generator=generators,
        height=64,
        width=64,
        output_type="latent",
        **({"eta": params["eta"]} if "eta" in params else {}),
    ).images
    fixed = SHORT[text][2] if text in SHORT else {}  # what a short name stands for
    params = {**params, **{key: config[key] for key in config.keys() - fixed.keys()}}
    call = _call(text, **{**params, "steps": 4, "guidance": guidance})
    certify(text, _run(tiny_sdxl, call, WORDS).native, theirs, atol=1e-4)


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder: Path = tmp_path_factory.mktemp("sd3")
    pipeline = stable_diffusion_3(t5=False)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder)
    return pipeline, load(str(folder))


FLOWS = [
    ("diffusers:FlowMatchEuler", "FlowMatchEulerDiscreteScheduler", {}),
    ("flow_heun", "FlowMatchHeunDiscreteScheduler", {}),
    ("diffusers:FlowMatchHeun", "FlowMatchHeunDiscreteScheduler", {}),
    ("diffusers:FlowMatchLCM", "FlowMatchLCMScheduler", {}),
    (
        "diffusers:FlowMatchEuler",
        "FlowMatchEulerDiscreteScheduler",
        {"stochastic_sampling": True},
    ),
]


@pytest.mark.golden
@pytest.mark.parametrize(("text", "kind", "config"), FLOWS)
def test_a_flows_pipeline_with_that_scheduler_gives_the_same(
    certify: Any, sd3: tuple[Any, Any], text: str, kind: str, config: dict[str, Any]
) -> None:
    pipeline, model = sd3
    parts = dict(pipeline.components)
    parts["scheduler"] = getattr(diffusers, kind)(shift=3.0, **config)
    theirs = diffusers.StableDiffusion3Pipeline(**parts)
    theirs.set_progress_bar_config(disable=True)
    latents, _ = _own_draws(range(2))
    generator = torch.Generator().manual_seed(7)  # this pipeline's scheduler has the global one
    draws = torch.stack([torch.randn(2, 4, 8, 8, generator=generator) for _ in range(6)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        images = theirs(
            list(WORDS),
            num_inference_steps=6,
            guidance_scale=4.0,
            latents=latents,
            height=64,
            width=64,
            output_type="latent",
        ).images
    call = _call(text, steps=6, guidance=4.0, **config)
    ours = _run(model, call, WORDS, noise=RecordedNoise(latents, draws, "cpu"))
    certify(text, ours.native, images.double(), atol=1e-4)


@pytest.fixture(scope="module")
def edm() -> Any:
    return load("shapes-edm")


@pytest.mark.parametrize("which", ["gmm", "tiny_sdxl", "sd3", "edm"])
@pytest.mark.parametrize("name", ALL)
def test_each_is_finite_on_every_family_or_says_why_not(
    request: pytest.FixtureRequest, name: str, which: str
) -> None:
    """Also: an image does not depend on its batch, nothing is drawn from the global generator, and
    evaluations are those of a dry run."""
    model = request.getfixturevalue(which)
    model = model[1] if which == "sd3" else model
    prompts = WORDS if which in ("tiny_sdxl", "sd3") else CLASSES
    call = _call(name, steps=3, guidance=1 if which == "edm" else 3)
    if name in WHOLE_TIMES and which != "tiny_sdxl":
        with pytest.raises(HarnessError, match="spacing=lcm is of networks with whole timesteps"):
            _run(model, call, prompts)
        return
    if name in SLOPES and which == "sd3":
        with pytest.raises(HarnessError, match="begins at sigma 1000 at most"):
            _run(model, call, prompts)
        call = _call(name, steps=3, guidance=3, sigma_max=80.0)
    before = torch.get_rng_state()
    batch = _run(model, call, prompts)
    assert torch.equal(torch.get_rng_state(), before)
    assert bool(batch.native.isfinite().all())
    alone = _run(model, call, prompts[1:], keys=[1]).native[0]
    size = float(batch.native.abs().max())
    torch.testing.assert_close(alone, batch.native[1], atol=1e-4 * size, rtol=0)
    counted = {key: count[0] for key, count in batch.evaluations.items()}
    unconditional = which != "edm"
    assert rehearse(model, call, unconditional=unconditional)[1] == counted


@pytest.mark.parametrize("name", ALL)
def test_each_image_is_made_by_itself(name: str) -> None:
    check_independent(find("shapes").ladders({}), _call(name, steps=6))


def test_options_that_end_no_ladder_at_zero_end_by_euler(gmm: Any) -> None:
    """The last estimate is the picture; with a class that cannot step to 0 nothing is NaN."""
    for text in ("unipc_bh1", "diffusers:UniPCMultistep(lower_order_final=false)", "deis"):
        for steps in (1, 2, 20):
            assert bool(_run(gmm, _call(text, steps=steps), CLASSES).native.isfinite().all())


def test_tau_is_that_of_the_levels_in_its_range(gmm: Any) -> None:
    """Outside the range SA-Solver takes the deterministic steps of tau 0."""
    none = _run(gmm, _call("sa_solver(steps=8, tau_range=[500, 600])"), CLASSES).native
    zero = _run(gmm, _call("sa_solver(steps=8, tau=0)"), CLASSES).native
    some = _run(gmm, _call("sa_solver(steps=8)"), CLASSES).native
    assert torch.equal(none, zero)
    assert not torch.allclose(some, zero, atol=1e-2)


@pytest.mark.parametrize(
    "text",
    [
        "diffusers(UniPCMultistep, steps=9, solver_type=bh1)",
        "diffusers(UniPCMultistepScheduler, steps=9, solver_type=bh1)",
        "diffusers:UniPCMultistepScheduler(steps=9, solver_type=bh1)",
        "diffusers:UniPCMultistep(steps=9, solver_type=bh1)",
    ],
)
def test_a_scheduler_has_one_name_however_it_is_written(text: str) -> None:
    call = _call(text)
    assert call.name == "diffusers:UniPCMultistep"
    assert call == _call(str(call))
    assert (call.params["solver_type"], call.params["solver_order"]) == ("bh1", 2)


def test_the_class_is_also_known_by_its_whole_name() -> None:
    assert _call("diffusers(EulerAncestralDiscreteScheduler, steps=3)").name == (
        "diffusers:EulerAncestral"
    )


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_give_nonsense_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(
        HarnessError, match=rf"diffusers\({name}\) is refused: .*{REFUSED[name][:9]}"
    ):
        _call(f"diffusers({name}Scheduler, steps=4)")


def test_every_scheduler_of_diffusers_is_either_known_or_refused() -> None:
    names = [name for name in dir(diffusers) if name.endswith("Scheduler")]
    short = {name.removesuffix("Scheduler").removesuffix("Discrete") for name in names}
    assert short - SOLVERS.keys() - REFUSED.keys() == set()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("diffusers(UniPCMultstep, steps=4)", "did you mean 'UniPCMultistep'"),
        ("diffusers(UniPCMultistep, steps=4, solver_ordr=3)", "did you mean 'solver_order'"),
        ("diffusers(UniPCMultistep, steps=4, solver_order=4)", "solver_order=4"),
        ("diffusers(UniPCMultistep, steps=4, solver_type=bh3)", "'bh1' or 'bh2'"),
        ("diffusers(Euler, steps=4, beta_start=0.1)", "unknown parameter 'beta_start'"),
        ("diffusers(steps=4)", "name a scheduler, one of DDIM, DEISMultistep"),
        ("diffusers", "name a scheduler, one of DDIM, DEISMultistep"),
        ("dpmpp_3n(steps=4)", "did you mean 'dpmpp_3"),
        ("dpmpp_3m(steps=4, solver_order=2)", "unknown parameter 'solver_order'"),
        ("sa_solver(steps=4, tau_range=[2, 1])", "the smaller sigma comes first"),
        (
            "diffusers(EDMDPMSolverMultistep, steps=4, solver_order=3, "
            "algorithm_type='sde-dpmsolver++')",
            "no stochastic steps of order 3: take dpmpp_3m_sde",
        ),
    ],
)
def test_mistakes_are_named(text: str, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        _call(text)


def test_lcm_steps_through_whole_times_only(tiny_sdxl: Any) -> None:
    with pytest.raises(HarnessError, match=r"LCM steps through whole timesteps.*spacing=lcm"):
        _run(tiny_sdxl, _call("lcm(steps=4, spacing=karras)"), WORDS)
    trailing = _run(tiny_sdxl, _call("lcm(steps=4, spacing=trailing)"), WORDS).native
    assert bool(trailing.isfinite().all())
    with pytest.raises(HarnessError, match="spacing=lcm knows 50 timesteps"):
        _run(tiny_sdxl, _call("lcm(steps=51)"), WORDS)


def test_each_has_a_certificate() -> None:
    """Every name stands in a golden test above."""
    named = {name for _, name, _ in SAME} | {parse_call(text).name for text in MOMENTS}
    named |= {parse_call(text).name for text, *_ in CONVERGING}
    named |= {text for text, *_ in PIPELINES} | {text for text, *_ in FLOWS}
    assert {name for name in SAMPLERS.names() if name in ALL} - named == set()
