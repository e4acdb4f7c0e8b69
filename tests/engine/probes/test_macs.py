"""Multiply-accumulates of an evaluation and of a picture."""

from __future__ import annotations

import pytest

from harness.core.shards import Prompt
from harness.engine.probes.macs import count_macs
from harness.runs.loaded import open_models
from harness.runs.plan import plan

PROMPT = Prompt("p0", "one red circle")


@pytest.mark.parametrize("sampler", ["ddim(steps=3, guidance=4)", "zigzag(steps=3, guidance=4)"])
def test_a_picture_costs_its_evaluations(sampler: str) -> None:
    """Neither the decoder nor the text encoder counts."""
    job = plan("shapes", sampler)
    ledger = count_macs(open_models(job, "cpu"), job.spec, PROMPT)
    assert ledger.evaluation > 1e6
    assert ledger.picture == job.nfe * ledger.evaluation


def test_calls_are_counted_whatever_is_skipped() -> None:
    """An inversion without guidance evaluates one branch: codes that run both count two."""
    job = plan("shapes", "zigzag(steps=3, guidance=4, inversion_guidance=0)")
    ledger = count_macs(open_models(job, "cpu"), job.spec, PROMPT)
    assert ledger.calls == 3 * 3 - 2  # no zigzag at the last step
    assert job.nfe == 2 * ledger.calls - 2  # two inversions


def test_what_a_sampler_adds_to_its_evaluations_counts() -> None:
    """AsynDM's maps and time embeddings of several times."""
    job = plan("shapes", "asyndm(steps=3, guidance=4)")
    ledger = count_macs(open_models(job, "cpu"), job.spec, PROMPT)
    assert ledger.picture > job.nfe * ledger.evaluation
