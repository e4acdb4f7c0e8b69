"""Costs are what was recorded over all images, whatever a dry run or one picture says."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.comparison.comparing import compare
from harness.comparison.cost import image_macs, recorded_cost
from harness.core.shards import Prompt
from harness.evaluation import evaluate
from harness.experiments.fair_baselines import MATCHED, Fairness, fair_baselines
from harness.experiments.pricing import FairPair, priced
from harness.experiments.scoring import item_infos
from harness.metrics.base import make_metrics
from harness.reporting import remarks, run_tables, words
from harness.runs.folder import Settings
from harness.runs.plan import plan
from harness.store.run import Run
from tests.experiments.test_fair_baselines import _made, timed

PROMPTS = [Prompt(f"p{i}", f"class {i}") for i in range(8)]

DECIDING = """
import torch

def deciding(denoise, x, sigmas, noise, *, guidance: float = 3.0, times: int = 1):
    for s, t in zip(sigmas, sigmas[1:]):
        for _ in range(times if bool((x != 0).any()) else 1):
            weight = torch.where(x.mean((1, 2, 3)) > 0, guidance, 1.0)
            d = denoise(x, s, guidance=weight)
        x = x + (t - s) * (x - d) / s
    return x
"""


def _pair(folder: Path, times: int, steps: int = 4) -> FairPair:
    (folder / "mine.py").write_text(DECIDING)
    texts = f"{folder}/mine.py:deciding(steps={steps}, times={times})", f"ddim(steps={steps})"
    jobs = [plan("shapes", text) for text in texts]
    return FairPair(*jobs, (_made(jobs[0], folder, PROMPTS), _made(jobs[1], folder, PROMPTS)))


@pytest.mark.parametrize("unit", ["nfe", "macs"])
def test_a_sampler_that_decides_image_by_image_costs_what_it_evaluated(
    unit: str, tmp_path: Path
) -> None:
    pair = _pair(tmp_path, times=4)
    assert pair.candidate.nfe == 4
    counts = pair.runs[0].frame("images", ["nfe"])["nfe"]
    assert 16 <= counts.min() < counts.max() <= 32
    fair = fair_baselines(pair, lambda call: plan("shapes", call), Fairness(unit, curve=[]))
    matched = fair.jobs[MATCHED]
    assert counts.mean() <= matched.nfe < counts.mean() + 2
    (note,) = [note for note in fair.notes if "dry run" in note]
    assert f"{counts.mean():.4g} times an image ({counts.min()} to {counts.max()})" in note
    assert "4 times in its dry run" in note


def test_multiply_accumulates_are_of_all_images(tmp_path: Path) -> None:
    pair = _pair(tmp_path, times=1)
    ours, theirs = (recorded_cost(run) for run in pair.runs)
    assert ours.nfe is not None
    assert theirs.nfe == 8
    assert ours.macs is not None
    assert theirs.macs is not None
    assert 4 < ours.nfe < 8
    assert ours.macs / theirs.macs == pytest.approx(ours.nfe / 8, rel=1e-6)
    only = recorded_cost(pair.runs[0], ["p0/0"])
    assert only.nfe == only.nfe_least == only.nfe_most
    assert only.macs == pytest.approx(theirs.macs * only.nfe / 8)


def test_a_report_says_that_a_dry_run_was_otherwise(tmp_path: Path) -> None:
    pair = _pair(tmp_path, times=1)
    metrics = make_metrics(["contrast"])
    for run in pair.runs:
        evaluate(run, [metric.call for metric in metrics])
    found = compare(pair.runs[0], {"own": pair.runs[1]}, item_infos(metrics), str(tmp_path / "out"))
    said = "\n".join(remarks.remarks(found))
    assert "4 times in its dry run: costs are those recorded" in said
    assert "ddim" not in said
    cost = found.candidate.cost
    cells = run_tables.costs(found).groups[0].rows
    assert f"({cost.nfe_least} to {cost.nfe_most}, n {len(PROMPTS)})" in cells[0][2]
    assert cells[1][2] == f"8 (n {len(PROMPTS)})"
    assert cost.differs
    assert not found.runs["own"].cost.differs


def test_further_networks_are_priced_apart() -> None:
    ledger = {"picture": 100.0, "evaluation": 10.0}
    assert image_macs(ledger, {"main/cond": 5.0}) == 100.0  # of a version that did not count them
    ledger |= {"evaluations": {"main/cond": 4, "guide/cond": 3}}
    assert image_macs(ledger, {"main/cond": 4.0, "guide/cond": 3.0}) == pytest.approx(100)
    assert image_macs(ledger, {"main/cond": 2.0, "guide/cond": 6.0}) == pytest.approx(140)
    ledger |= {"evaluations": {"main/cond": 4, "main/uncond": 1}}  # 20 each, with what is added
    assert image_macs(ledger, {"main/cond": 4.0, "main/uncond": 4.0}) == pytest.approx(160)


def _timed_pair(folder: Path, ours: list[float], theirs: list[float]) -> FairPair:
    jobs = [plan("gmm", text) for text in ("heun(steps=5)", "ddim(steps=10)")]
    runs = (_made(jobs[0], folder, PROMPTS), _made(jobs[1], folder, PROMPTS))
    for run, seconds in zip(runs, (ours, theirs), strict=True):
        timed(run, seconds)
    return FairPair(*jobs, runs)


def test_seconds_are_matched_by_their_medians_and_say_how_noisy_they_are(tmp_path: Path) -> None:
    pair = _timed_pair(tmp_path, [2.0, 2.1, 2.0, 1.9, 60.0], [1.0, 1.0, 1.05, 0.95, 1.0])
    paid = priced(pair, "seconds")
    assert paid.refused is None
    assert paid.least == pytest.approx(2.0)
    assert paid.price.evaluation == pytest.approx(1.0 / pair.baseline.nfe)
    assert "2 s an image [2, 2.1] against 1 [1, 1], quartiles over 5 batches" in paid.notes[-1]
    cost = recorded_cost(pair.runs[0])
    assert cost.seconds == pytest.approx(13.6)
    assert words.timed(cost) == "13.6 [2, 2.1]"


def test_seconds_that_are_noisier_than_their_difference_are_refused(tmp_path: Path) -> None:
    pair = _timed_pair(tmp_path, [1.0, 2.0, 1.0, 2.0, 1.2], [1.0, 1.5, 0.8, 1.1, 1.9])
    assert "noisier than what would be matched" in str(priced(pair, "seconds").refused)
    fair = fair_baselines(pair, lambda call: plan("gmm", call), Fairness("seconds"))
    assert "noisier" in fair.absent[MATCHED]
    assert fair.curve == {}
    assert sum("no guidance curve" in note for note in fair.notes) == 1


def test_a_little_noise_in_equal_seconds_does_no_harm(tmp_path: Path) -> None:
    pair = _timed_pair(tmp_path, [1.0, 1.01, 0.99, 1.0], [1.0, 1.0, 1.02, 0.98])
    assert priced(pair, "seconds").refused is None


def test_seconds_of_one_batch_are_refused(tmp_path: Path) -> None:
    pair = _timed_pair(tmp_path, [1.0], [2.0])
    assert "too few batches (1)" in str(priced(pair, "seconds").refused)


def test_batches_are_timed(tmp_path: Path) -> None:
    run: Run = _made(plan("gmm", "ddim(steps=2)"), tmp_path, PROMPTS)
    (row,) = run.frame("timing").to_dict("records")
    assert sum(row["batch_images"]) == row["images"] == len(PROMPTS)
    assert sum(row["batch_seconds"]) == pytest.approx(row["seconds"])
    assert Settings().batch_size is None
