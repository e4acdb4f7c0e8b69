"""What Restart's intervals snap to is said where its run is planned, made and reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.runs.folder import Settings, open_run
from harness.runs.plan import plan
from harness.store.run import AS_SAMPLED


@pytest.mark.parametrize("steps", [10, 20, 30])
def test_the_published_interval_says_what_it_snaps_to(steps: int, tmp_path: Path) -> None:
    job = plan("shapes", f"restart(steps={steps}, intervals=[[5, 2, 0.1, 2]], grid=time)")
    said = "intervals in sigma, snapped to levels: [0.1, 2] is [0.02917, 1.998]"
    assert job.remark == said
    run = open_run(job, str(tmp_path), Settings())
    assert run.record["environment"][AS_SAMPLED] == said


def test_an_interval_that_lies_on_levels_needs_no_remark() -> None:
    job = plan("shapes", "restart(steps=10, intervals=[[3, 2, 0.1, 2]])")
    low = float(job.sigmas[-2])
    assert job.remark is not None
    exact = plan("shapes", f"restart(steps=10, intervals=[[3, 2, {low!r}, 2.0]])")
    assert exact.remark is None
    assert plan("shapes", "ddim(steps=10)").remark is None
