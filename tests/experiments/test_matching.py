from __future__ import annotations

import pytest

from harness.core.errors import HarnessError
from harness.experiments.matching import match_cost, match_guidance
from harness.runs.plan import plan
from tests.conftest import TINY_SDXL


@pytest.mark.parametrize("model", ["gmm", "shapes", str(TINY_SDXL)])
@pytest.mark.parametrize(
    "sampler",
    [
        "zigzag(steps=10)",
        "zigzag(steps=7, zigzag_steps=3)",
        "heun(steps=5)",
        "ddim(steps=8, guidance=1)",
    ],
)
def test_the_fewest_steps_that_cost_as_much_between_the_same_sigmas(
    model: str, sampler: str
) -> None:
    candidate, baseline = plan(model, sampler), plan(model, "ddim(steps=10, guidance=3)")
    matched = match_cost(candidate.dry_run, baseline.spec.sampler, candidate.sigmas, candidate.nfe)
    steps = matched.params["steps"]
    assert steps == -(-candidate.nfe // 2)  # a guided Euler step costs 2
    sigmas, evaluations = candidate.dry_run(matched)
    assert sum(evaluations.values()) >= candidate.nfe
    assert float(sigmas[0]) == pytest.approx(float(candidate.sigmas[0]), rel=1e-9)
    assert float(sigmas[-1]) == float(candidate.sigmas[-1])
    assert matched.params["guidance"] == 3


def test_a_guidance_interval_in_steps_keeps_its_sigmas() -> None:
    candidate = plan("shapes", "zigzag(steps=20)")
    baseline = plan("shapes", "ddim(steps=20, guidance=3, interval_steps=[5, 15])")
    matched = match_cost(candidate.dry_run, baseline.spec.sampler, candidate.sigmas, candidate.nfe)
    low, high = matched.params["interval"]
    assert high == float(baseline.sigmas[5])
    assert low == float(baseline.sigmas[16])
    assert "interval_steps" not in matched.params


def test_what_cannot_be_matched_is_said() -> None:
    job = plan(str(TINY_SDXL), "ddim(steps=10)")
    with pytest.raises(HarnessError, match="more than 999 steps"):
        match_cost(job.dry_run, job.spec.sampler, job.sigmas, 5000)
    with pytest.raises(HarnessError, match="within the model's range"):
        match_cost(job.dry_run, job.spec.sampler, job.sigmas * 2, 40)


def test_a_guidance_of_0_needs_no_schedule() -> None:
    """Nothing can follow a curve about a mean of 0, unless it is 0 everywhere."""
    call = plan("gmm", "ddim(steps=3, guidance=4)").spec.sampler
    zero = match_guidance(call, 0.0)
    assert match_guidance(call, 0.0, [(3.0, 0.0), (1.0, 0.0)]) == zero
    with pytest.raises(HarnessError, match="match the mean alone"):
        match_guidance(call, 0.0, [(3.0, 1.0), (1.0, -1.0)])
    followed = match_guidance(call, 2.0, [(3.0, 1.0), (1.0, 3.0)])
    assert followed.params["guidance_schedule"] == [[3.0, 0.5], [1.0, 1.5]]
