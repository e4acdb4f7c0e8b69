"""A survey keeps the differences of set scores that its comparisons hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.store.comparison_tables import load_comparison
from harness.store.survey_table import load_survey
from tests.conftest import harness

BENCH = """
title: t
model: shapes
prompts: shapes
limit: 24
seeds: "0"
baseline: "ddim(steps=2, guidance=3)"
candidates: ["heun(steps=2, guidance=3)"]
metrics: [shapes-alignment, "shapes-fd(allow_few=true)"]
"""


@pytest.mark.slow
def test_a_survey_has_the_differences_of_its_comparisons(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "b.yaml").write_text(BENCH)
    command = ["--bench", str(tmp_path / "b.yaml"), "--results", str(tmp_path / "r")]
    assert harness(monkeypatch, "bench", *command, "--workers", "1") == 0
    (path,) = (tmp_path / "r").glob("*/survey")
    baseline, row = load_survey(str(path)).rows
    assert baseline.set_gaps == []
    found = load_comparison(str(path / str(row.folder))).set_results
    own = next(one for one in found if one.run == "own")
    gap = next(one for one in row.set_gaps if one.setting == "own")
    assert gap.metric == own.metric
    assert gap.difference == own.difference.value
    assert (gap.corrected, gap.low, gap.high) == (own.corrected.value, *own.corrected.ends)
    assert gap.verdict == own.verdict in ("better", "worse", "undecided")
    assert {one.setting for one in row.set_gaps} == {rate.setting for rate in row.rates}
    for one in (baseline, row):
        assert set(one.front_share) == {"shapes-alignment", gap.metric}
    assert "Differences of whole sets from the baseline" in (path / "report.md").read_text()
