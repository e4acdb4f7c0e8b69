"""Samplers' texts, resolved: every parameter in its place, the same run ids as ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.runs.plan import plan

RECORDED = json.loads((Path(__file__).parent.parent / "golden" / "calls.json").read_text())


@pytest.mark.parametrize("call", RECORDED, ids=lambda call: call["run_id"])
def test_a_text_stands_for_the_same_run_as_ever(call: dict[str, str]) -> None:
    spec = plan(call["model"], call["sampler"]).spec
    assert str(spec.sampler) == call["resolved"]
    assert spec.run_id == call["run_id"]
