"""Nominal guidance scales are exact for every sampler whose answer is known in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.comparison.guidance_scales import guidance_scale
from harness.core.call import parse_call
from harness.core.nominal_scale import Evaluations, run_scale
from harness.core.shards import Prompt, plan_shards
from harness.engine.batch import Batch, run_sampler
from harness.engine.noise import NoiseStreams
from harness.engine.probes.coefficients import (
    Coefficients,
    GuidanceCurve,
    NotAffine,
    measured_guidance,
    nominal_guidance,
    sampler_coefficients,
)
from harness.engine.rehearsal import rehearse
from harness.engine.resolve import resolve
from harness.models.base import Ladders
from harness.models.gmm import GaussianMixture
from harness.models.load import find
from harness.runs.folder import Settings, open_run
from harness.runs.make import generate
from harness.runs.plan import plan
from harness.samplers.base import SAMPLERS
from harness.samplers.diffusers_solvers import SHORT

RESTART = "intervals=[[3, 2, 0.06, 0.30], [2, 4, 1.0, 5.0]]"


def _ladders(which: str) -> Ladders:
    return GaussianMixture() if which == "gmm" else find(which).ladders({})


def _coefficients(text: str, which: str = "shapes") -> Coefficients:
    return sampler_coefficients(_ladders(which), resolve(parse_call(text), {"guidance": 5.5}))


def _curve(text: str, which: str = "shapes") -> GuidanceCurve:
    found = _coefficients(text, which)
    unknown = torch.full((len(found.step), 1), torch.nan)
    return nominal_guidance(found, found.guidance[:, None], unknown)


@pytest.mark.parametrize("which", ["shapes", "gmm"])
@pytest.mark.parametrize(
    "text",
    [
        "ddim(steps=12)",
        "ddim(steps=12, eta=0.7)",
        "ddpm(steps=12)",
        "euler_ancestral(steps=12)",
        "heun(steps=12)",
        "edm(steps=12, s_churn=8)",
        "dpmpp_2m(steps=12)",
        "unipc(steps=12)",
        f"restart(steps=12, {RESTART})",
        "zigzag(steps=12, inversion_guidance=5.5)",
    ],
)
def test_one_scale_everywhere_is_that_scale(which: str, text: str) -> None:
    curve = _curve(text, which)
    assert curve.scale[:, 0].numpy() == pytest.approx(5.5, abs=1e-9)
    assert float(curve.mean) == pytest.approx(5.5, abs=1e-9)  # whatever the weights


@pytest.mark.parametrize("which", ["shapes", "gmm"])
def test_a_zigzag_step_is_twice_gamma_1_less_gamma_2(which: str) -> None:
    """Three predictions over one step, the second backwards: 2 * 5.5 - 0 = 11."""
    scale = _curve("zigzag(steps=10)", which).scale
    assert scale[:-1].numpy() == pytest.approx(11, abs=1e-9)
    assert float(scale[-1]) == pytest.approx(5.5, abs=1e-9)  # the last step does not zigzag
    more = _curve("zigzag(steps=10, rounds=3, inversion_guidance=2, zigzag_steps=4)", which).scale
    assert more[:4].numpy() == pytest.approx(4 * 5.5 - 3 * 2, abs=1e-9)
    assert more[4:].numpy() == pytest.approx(5.5, abs=1e-9)


def test_w2sd_leans_on_the_difference_of_its_two_guidances() -> None:
    scale = _curve("w2sd(steps=10, strong_guidance=4, weak_guidance=1)").scale
    assert float(scale[0]) == pytest.approx(5.5 + 4 - 1, abs=1e-9)


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp_2m", "unipc", "edm"])
def test_an_interval_is_w_inside_and_1_outside(name: str) -> None:
    curve = _curve(f"{name}(steps=16, interval=[0.3, 3.0])")
    inside = (curve.sigma > 0.3) & (curve.sigma <= 3.0)
    assert 0 < int(inside.sum()) < 16
    assert curve.scale[inside].numpy() == pytest.approx(5.5, abs=1e-9)
    assert curve.scale[~inside].numpy() == pytest.approx(1, abs=1e-9)
    assert bool(curve.mean.isnan())


def test_a_zigzag_outside_its_interval_is_no_guidance() -> None:
    """There the inversion is unguided, too: 2 * 1 - 1."""
    curve = _curve("zigzag(steps=16, interval=[0.3, 3.0])")
    inside = (curve.sigma > 0.3) & (curve.sigma <= 3.0)
    assert curve.scale[inside].numpy() == pytest.approx(11, abs=1e-9)
    assert curve.scale[~inside].numpy() == pytest.approx(1, abs=1e-9)


def test_cfgpp_is_the_guidance_that_it_is_written_with() -> None:
    """lambda s / (s - t), which falls to lambda at a step to sigma 0."""
    curve = _curve("cfgpp(steps=10, scale=0.6)", "gmm")
    sigmas, _ = rehearse(_ladders("gmm"), resolve(parse_call("cfgpp(steps=10)"), {}))
    expected = 0.6 * sigmas[:-1] / (sigmas[:-1] - sigmas[1:])
    assert curve.scale[:, 0].numpy() == pytest.approx(expected.numpy(), abs=1e-9)


@pytest.mark.parametrize("mask", ["dynamic", "static", "everywhere"])
def test_asyndm_steps_at_w_however_its_pixels_are_timed(mask: str) -> None:
    """A static mask is found by a run of its own, which has no part in the result."""
    curve = _curve(f"asyndm(steps=10, mask={mask}, strength=0.5)")
    assert len(curve.scale) == 10
    assert curve.scale[:, 0].numpy() == pytest.approx(
        5.5, abs=1e-6
    )  # its levels are rounded in float32


OF_DIFFUSERS = {name for name in SAMPLERS.names() if name.startswith("diffusers:")} | set(SHORT)
STOCHASTIC = {f"diffusers:{name}" for name in ("EulerAncestral", "FlowMatchLCM", "KDPM2Ancestral")}
STOCHASTIC |= {"diffusers:LCM", "diffusers:SASolver", "diffusers:TCD", "dpm2_ancestral", "lcm"}
STOCHASTIC |= {"dpmpp_2m_sde", "dpmpp_3m_sde", "dpmpp_sde", "sa_solver", "tcd"}


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_coefficients_lead_from_the_first_level_to_the_last(name: str) -> None:
    """If all predictions are one, x changes by it times the length of the ladder.

    Fresh noise of ancestral and churned samplers comes out of what predictions remove, and jumps
    are removed again, so there the predictions go further; never the other way.
    """
    own = {"restart": RESTART, "asyndm": "mask=everywhere, strength=0.5"}.get(name, "")
    call = resolve(parse_call(f"{name}(steps=12{', ' if own else ''}{own})"), {"guidance": 3.0})
    ladders = _ladders("shapes")
    sigmas, evaluations = rehearse(ladders, call)
    found = sampler_coefficients(ladders, call)
    assert len(found.step) == max(evaluations.values())
    travelled = -float(found.coefficient.sum())
    length = float(sigmas[0] - sigmas[-1])
    if name in {"ddpm", "euler_ancestral", "restart"} | STOCHASTIC:
        assert travelled > length
    elif name != "asyndm":
        # some schedulers of diffusers round their states to float32
        rel = 1e-6 if name in OF_DIFFUSERS else 1e-9
        assert travelled == pytest.approx(length, rel=rel)


def test_the_mean_weighs_steps_by_how_far_guidance_moves_them() -> None:
    levels, travel = np.array([[3.0, 1.0], [2.0, 1.0]])
    scale = np.array([[11.0, 11.0, 7.0], [5.0, 5.0, 7.0]])
    push = np.array([[1.0, np.nan, np.nan], [4.0, 4.0, 4.0]])
    mean, unknown = run_scale(Evaluations(levels, -travel, scale, push))
    assert float(mean[0]) == pytest.approx((2 * 11 + 4 * 5) / 6)
    assert bool(np.isnan(mean[1]))
    assert float(mean[2]) == 7
    assert unknown.tolist() == [False, True, False]


def _sampled(text: str, seeds: int = 2) -> tuple[GuidanceCurve, Batch]:
    model = GaussianMixture()
    noise = NoiseStreams(list(range(seeds)), model.latent_shape((8, 8)), dtype=model.state_dtype)
    call = resolve(parse_call(text), {})
    condition, negative = model.encode(["class 3"] * seeds), model.encode_negative([None] * seeds)
    batch = run_sampler(model, call, condition, negative, noise)
    assert batch.applied is not None
    return measured_guidance(sampler_coefficients(model, call), batch.applied), batch


@pytest.mark.parametrize("text", ["zigzag(steps=8, guidance=3)", "heun(steps=8, guidance=3)"])
def test_a_sampled_curve_is_the_rehearsed_one(text: str) -> None:
    curve, _ = _sampled(text)
    assert curve.scale.numpy() == pytest.approx(_curve(text, "gmm").scale.expand(-1, 2).numpy())
    assert bool((curve.push[0] > 0).all())
    assert bool(curve.mean.isfinite().all())


def test_the_push_is_the_distance_of_the_branches_noise_predictions() -> None:
    """D of the mixture minus D of a component, over sigma, at the first level."""
    model = GaussianMixture()
    curve, _ = _sampled("ddim(steps=4, guidance=2)")
    noise = NoiseStreams([0, 1], model.latent_shape((8, 8)), dtype=model.state_dtype)
    sigma = curve.sigma[0]
    x = model.start(noise(), sigma)
    toward = [
        model.denoised(x, sigma, model.network(x, sigma, sigma, condition))
        for condition in (model.encode(["class 3"] * 2), model.encode_negative([None] * 2))
        if condition is not None
    ]
    expected = ((toward[0] - toward[1]) / sigma).flatten(1).norm(dim=1)
    assert curve.push[0].numpy() == pytest.approx(expected.numpy(), rel=1e-9)


def test_rescaled_guidance_is_projected_on_the_branches_difference() -> None:
    """Without rescaling it is w; with it, less; with APG's eta 1 and no bound again w."""
    plain, _ = _sampled("ddim(steps=6, guidance=4)")
    rescaled, _ = _sampled("ddim(steps=6, guidance=4, guidance_rescale=0.7)")
    apg, _ = _sampled("ddim(steps=6, guidance=4, apg_eta=1.0)")
    bounded, _ = _sampled("ddim(steps=6, guidance=4, apg_eta=1.0, apg_threshold=0.01)")
    assert bool((rescaled.scale < plain.scale).any())
    assert apg.scale.numpy() == pytest.approx(plain.scale.numpy(), rel=1e-9)
    assert bool((bounded.scale[0] < 4).all())
    assert bool((bounded.scale[0] > 1).all())


def test_outside_an_interval_the_distance_of_the_branches_is_unknown() -> None:
    """The unconditional branch is not evaluated there, and it is not made up."""
    curve, _ = _sampled("ddim(steps=8, guidance=4, interval=[0.3, 3.0])")
    inside = (curve.sigma > 0.3) & (curve.sigma <= 3.0)
    assert bool(curve.push[~inside].isnan().all())
    assert bool(curve.push[inside].isfinite().all())
    assert bool(curve.mean.isnan().all())


@pytest.mark.parametrize(
    "policy",
    ["guidance_rescale=0.7", "apg_eta=0.5, apg_threshold=1", "apg_momentum=-0.5", "pag_scale=3"],
)
@pytest.mark.parametrize("name", ["ddim", "zigzag", "heun"])
def test_policies_work_on_one_prediction_and_leave_the_sum_alone(name: str, policy: str) -> None:
    plain, other = _coefficients(f"{name}(steps=6)"), _coefficients(f"{name}(steps=6, {policy})")
    torch.testing.assert_close(plain.coefficient, other.coefficient, rtol=0, atol=0)


LOOP = """
def mine(denoise, x, sigmas, noise, *, guidance: float = 3.0):
    for s, t in zip(sigmas, sigmas[1:]):
        d = denoise(x, s, guidance=guidance)
        {}
        x = x + (t - s) * (x - d) / s
    return x
"""
BENT = {
    "clamped": "d = d.clamp(-20, 20)",
    "thresholded": "d = d * (d.abs() > 0.05)",
    "normalised": "d = d / d.std().clamp(min=1)",
    "at its last step": "d = d.clamp(-1, 1) if t == sigmas[-1] else d",
    "adaptive": "d = d if d.abs().max() < 3 else (d + denoise(x, s, guidance=guidance)) / 2",
}


@pytest.mark.parametrize("what", BENT)
def test_a_sampler_that_is_no_sum_of_predictions_is_recognised(what: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LOOP.format(BENT[what]))
    with pytest.raises(NotAffine, match=r"no sum of the network's predictions"):
        _coefficients(f"{tmp_path}/mine.py:mine(steps=8)")


@pytest.mark.parametrize("what", ["d = d / (x * 0)", "x = x * float('nan')", "d = d + s / 0"])
def test_a_sampler_that_returns_nothing_finite_is_told_so(what: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LOOP.format(what))
    with pytest.raises(NotAffine, match=r"^no guidance scale: what mine\.py.* is not finite") as it:
        _coefficients(f"{tmp_path}/mine.py:mine(steps=8)")
    assert "clamps" not in str(it.value)


def test_a_sampler_that_divides_by_its_first_state_is_not_said_to_return_nothing_finite(
    tmp_path: Path,
) -> None:
    """The dry run for coefficients begins at zeros, which no picture does."""
    (tmp_path / "mine.py").write_text(LOOP.format("d = d / x.std()"))
    with pytest.raises(NotAffine, match="normalises them"):
        _coefficients(f"{tmp_path}/mine.py:mine(steps=8)")


def test_a_sum_in_single_precision_is_a_sum(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LOOP.format("x, d = x.float(), d.float()"))
    curve = _curve(f"{tmp_path}/mine.py:mine(steps=200, guidance=4)")
    assert curve.scale.numpy() == pytest.approx(4)


def test_a_run_of_such_a_sampler_says_why_it_has_no_scale(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LOOP.format(BENT["clamped"]))
    job = plan("gmm", f"{tmp_path}/mine.py:mine(steps=3)")
    shards = plan_shards([Prompt("p0", "class 1")], [0])
    for _ in range(2):  # the second time it is opened only
        run = open_run(job, str(tmp_path / "run"), Settings())
        generate([(job, run, shard) for shard in shards], Settings())
    assert run.frame("images", ["guidance_scale"])["guidance_scale"].isna().all()
    assert "clamps, thresholds or normalises" in str(guidance_scale(run).reason)
    assert guidance_scale(run).value is None
