"""The baseline at the candidate's cost and guidance: what is planned, from two small runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from harness.comparison.guidance_scales import guidance_scale, guided_run
from harness.core.errors import HarnessError
from harness.core.shards import Prompt, plan_shards
from harness.experiments.fair_baselines import (
    BOTH,
    GUIDED,
    MATCHED,
    OWN,
    Fair,
    Fairness,
    fair_baselines,
)
from harness.experiments.pricing import FairPair
from harness.runs.folder import Settings, open_run
from harness.runs.make import generate
from harness.runs.plan import PlannedRun, plan
from harness.store.run import Run
from harness.store.schema import TIMING

PROMPTS = [Prompt(f"p{i}", f"class {i}") for i in range(6)]


def _made(job: PlannedRun, folder: Path, prompts: list[Prompt] = PROMPTS) -> Run:
    run = open_run(job, str(folder / job.folder), Settings())
    generate([(job, run, shard) for shard in plan_shards(prompts, [0])], Settings())
    return run


def _pair(folder: Path, candidate: str, baseline: str, guide: str | None = None) -> FairPair:
    jobs = [plan("gmm", text, guide=guide) for text in (candidate, baseline)]
    return FairPair(*jobs, (_made(jobs[0], folder), _made(jobs[1], folder)))


def _fair(pair: FairPair, unit: str = "macs") -> Fair:
    return fair_baselines(pair, lambda call: plan("gmm", call), Fairness(unit))


def timed(run: Run, seconds: list[float]) -> None:
    """Set the seconds of a run's batches, of one image each."""
    for shard in run.shards("timing"):
        table = run.read("timing", shard).to_pylist()[0]
        table |= {"images": len(seconds), "seconds": sum(seconds), "batch_seconds": seconds}
        table["batch_images"] = [1] * len(seconds)
        key = str(run.items_key("timing", shard))
        run.write("timing", shard, pa.Table.from_pylist([table], schema=TIMING), key)


def test_a_zigzag_meets_its_baseline_at_its_cost_and_its_guidance(tmp_path: Path) -> None:
    pair = _pair(tmp_path, "zigzag(steps=5, guidance=4)", "ddim(steps=5, guidance=4)")
    fair = _fair(pair)
    assert fair.absent == {}
    assert fair.scale is not None
    assert 4 < fair.scale <= 8 + 1e-9  # 8 at every step but the last
    calls = {name: job.spec.sampler.params for name, job in fair.jobs.items()}
    assert calls[MATCHED]["guidance"] == 4
    assert calls[GUIDED]["steps"] == 5
    assert calls[GUIDED]["guidance"] == calls[BOTH]["guidance"] == pytest.approx(fair.scale, 1e-3)
    for name in (MATCHED, BOTH):
        job = fair.jobs[name]
        assert pair.candidate.nfe <= job.nfe < pair.candidate.nfe + 2
        assert float(job.sigmas[0]) == float(pair.candidate.sigmas[0])
        assert float(job.sigmas[-1]) == float(pair.candidate.sigmas[-1])


def test_the_curve_has_six_weights_and_more_at_the_candidates_cost(tmp_path: Path) -> None:
    """Without guidance an evaluation is all that a step needs, so there are more steps."""
    pair = _pair(tmp_path, "zigzag(steps=5, guidance=4)", "ddim(steps=5, guidance=4)")
    curve = _fair(pair).curve
    assert len(curve) >= 6
    assert {1.0, 4.0} < set(curve)
    assert max(curve) > 8
    assert all(job.nfe >= pair.candidate.nfe for job in curve.values())
    steps = {weight: job.spec.sampler.params["steps"] for weight, job in curve.items()}
    assert steps[1.0] > steps[4.0]
    asked = fair_baselines(pair, lambda call: plan("gmm", call), Fairness("nfe", curve=[2.0, 3.0]))
    assert list(asked.curve) == [2.0, 3.0]
    none = fair_baselines(pair, lambda call: plan("gmm", call), Fairness("nfe", curve=[]))
    assert none.curve == {}


def test_a_plain_candidates_scale_is_its_guidance(tmp_path: Path) -> None:
    fair = _fair(_pair(tmp_path, "heun(steps=4, guidance=3)", "ddim(steps=4, guidance=2)"))
    assert fair.scale == pytest.approx(3)
    assert fair.jobs[GUIDED].spec.sampler.params["guidance"] == 3


def test_an_interval_is_weighed_by_what_the_baseline_saw_outside_it(tmp_path: Path) -> None:
    pair = _pair(
        tmp_path, "ddim(steps=8, guidance=4, interval=[0.3, 3.0])", "ddim(steps=8, guidance=4)"
    )
    candidate, baseline = pair.runs
    assert guidance_scale(candidate).value is None
    assert "is not known" in str(guidance_scale(candidate).reason)
    rows, seen = candidate.frame("guidance"), baseline.frame("guidance")
    expected = [
        np.average(row.scale, weights=row.travel * other.push)
        for row, other in zip(rows.itertuples(), seen.itertuples(), strict=True)
    ]
    assert guidance_scale(candidate, baseline).value == pytest.approx(np.mean(expected))
    only = guidance_scale(candidate, baseline, ["p1/0", "p3/0"])
    assert only.n == 2
    assert only.value == pytest.approx(np.mean([expected[1], expected[3]]))


def test_without_any_guided_evaluation_there_is_no_scale_to_match(tmp_path: Path) -> None:
    """Z-Sampling at guidance 1 evaluates one branch at a time, and so does its baseline."""
    fair = _fair(_pair(tmp_path, "zigzag(steps=4, guidance=1)", "ddim(steps=4, guidance=1)"))
    assert fair.scale is None
    assert "neither this run nor the baseline's" in fair.absent[GUIDED]
    assert MATCHED in fair.jobs


def test_guidance_by_another_network_is_never_matched_to_a_scale(tmp_path: Path) -> None:
    pair = _pair(tmp_path, "heun(steps=4, guidance=3)", "ddim(steps=4, guidance=2)", guide="gmm")
    fair = fair_baselines(pair, lambda call: plan("gmm", call, guide="gmm"))
    assert fair.scale is None
    assert "leads away from another network (gmm)" in fair.absent[GUIDED]
    assert MATCHED in fair.jobs


def test_cost_is_matched_in_the_unit_that_is_asked_for(tmp_path: Path) -> None:
    pair = _pair(tmp_path, "zigzag(steps=5, guidance=4)", "ddim(steps=5, guidance=4)")
    fair = _fair(pair)  # a closed form: there is nothing to count
    assert pair.candidate.nfe <= fair.jobs[MATCHED].nfe < pair.candidate.nfe + 2
    assert "matched by network evaluations" in fair.notes[0]
    ours, theirs = pair.runs
    ours.set_cost({"picture": 10 * 2 * pair.candidate.nfe, "evaluation": 10})
    theirs.set_cost({"picture": 10 * pair.baseline.nfe, "evaluation": 10})
    fair = _fair(pair)
    assert fair.notes == []
    assert 2 * pair.candidate.nfe <= fair.jobs[MATCHED].nfe < 2 * pair.candidate.nfe + 2
    assert _fair(pair, "nfe").jobs[MATCHED].nfe < pair.candidate.nfe + 2
    timed(ours, [3.0] * 4)
    timed(theirs, [1.0] * 4)
    assert _fair(pair, "seconds").jobs[MATCHED].nfe == 3 * pair.baseline.nfe
    with pytest.raises(HarnessError, match=r"unit of cost 'mac'.*macs"):
        Fairness("mac")


def test_the_schedule_of_a_zigzag_is_followed_step_by_step(tmp_path: Path) -> None:
    pair = _pair(tmp_path, "zigzag(steps=5, guidance=4)", "ddim(steps=5, guidance=4)")
    fair = fair_baselines(pair, lambda call: plan("gmm", call), Fairness("nfe", "schedule", []))
    run = _made(fair.jobs[GUIDED], tmp_path)
    for row in run.frame("guidance").itertuples():
        assert row.scale == pytest.approx([8, 8, 8, 8, 4], rel=1e-3)
    longer = _made(fair.jobs[BOTH], tmp_path).frame("guidance")
    assert set(np.round(np.concatenate(longer["scale"]), 2)) == {4.0, 8.0}


def test_what_is_equal_already_is_the_same_run(tmp_path: Path) -> None:
    """Guidance in four digits; with as many evaluations as well, one run serves all comparisons."""
    zigzag = "zigzag(steps=5, guidance=4, inversion_guidance=4)"
    fair = _fair(_pair(tmp_path, zigzag, "ddim(steps=5, guidance=4)"))
    assert fair.same == {GUIDED: OWN, BOTH: MATCHED}
    assert set(fair.jobs) == {MATCHED}
    assert fair.absent == {}
    ancestral = _fair(_pair(tmp_path, "ddim(steps=5, eta=1)", "ddim(steps=5, guidance=2)"))
    assert ancestral.same == dict.fromkeys((MATCHED, GUIDED, BOTH), OWN)
    other = _fair(_pair(tmp_path, "ddim(steps=5, eta=1, guidance=3)", "ddim(steps=5, guidance=2)"))
    assert other.same == {MATCHED: OWN, BOTH: GUIDED}
    job = other.jobs[GUIDED]
    other.leave_out(GUIDED)
    assert (other.jobs, other.same) == ({BOTH: job}, {MATCHED: OWN})
    three = Fair({MATCHED: job}, same={GUIDED: MATCHED, BOTH: MATCHED})
    three.leave_out(MATCHED)
    assert (three.jobs, three.same) == ({GUIDED: job}, {BOTH: GUIDED})


def test_a_reference_is_guided_at_every_step(tmp_path: Path) -> None:
    texts = ["guidance=1", "guidance=4, interval=[0.3, 3]", "guidance=4, interval_steps=[0, 2]"]
    jobs = [plan("gmm", f"ddim(steps=5, {text})") for text in [*texts, "guidance=2"]]
    runs = [open_run(job, str(tmp_path / job.folder), Settings()) for job in jobs]
    assert guided_run(runs) is runs[3]
    assert guided_run(runs[:3]) is runs[0]
