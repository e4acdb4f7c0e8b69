"""What may be written as Restart's intervals, and which are refused."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError
from harness.engine.resolve import resolve
from harness.runs.plan import plan
from tests.conftest import TINY_SDXL

CIFAR = (
    '18 {"0": [3, 2, 0.06, 0.30]}\n18 {"0": [3, 5, 0.06, 0.30]}\n\n20 {"0": [9, 30, 0.06, 0.2]}\n'
)


def intervals_of(text: str) -> object:
    return resolve(parse_call(text), {"steps": 18}).params["intervals"]


@pytest.fixture
def params_file(tmp_path: Path) -> Path:
    path = tmp_path / "params.txt"
    path.write_text(CIFAR)
    return path


def test_intervals_read_as_list_json_and_file_alike(params_file: Path) -> None:
    expected = [[3, 5, 0.06, 0.30]]
    assert intervals_of("restart(intervals=[[3,5,0.06,0.30]])") == expected
    assert intervals_of('restart(intervals={"0": [3,5,0.06,0.30]})') == expected
    assert intervals_of(f"restart(intervals={params_file}:2)") == expected


def test_the_steps_choose_a_file_s_only_line(params_file: Path) -> None:
    assert intervals_of(f"restart(steps=20, intervals={params_file})") == [[9, 30, 0.06, 0.2]]


def test_equal_keys_of_the_json_do_not_swallow_each_other() -> None:
    found = intervals_of('restart(intervals={"0": [3,1,0.06,0.3], "0": [3,1,1.09,1.92]})')
    assert found == [[3, 1, 0.06, 0.3], [3, 1, 1.09, 1.92]]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("FILE", "2 of the intervals.*choose a line"),
        ("FILE:4", "none of the intervals.*20 steps"),
        ("FILE:9", "line 9"),
        ("nowhere.txt", "cannot read"),
        ('{"0": oops}', "not JSON"),
        ('{"0": [3, 2, 0.06]}', "expected .N, K"),
        ('{"0": [3, 2, "a", 0.3]}', "expected .N, K"),
        ("[[3, 2, 0.3, 0.06]]", "below t_max"),
        ("[]", "no interval"),
        ("none, grid=karras", "no interval"),
    ],
)
def test_what_is_no_interval_is_named(params_file: Path, value: str, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        intervals_of(f"restart(intervals={value.replace('FILE', str(params_file))})")


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("once upon a time\n")
    with pytest.raises(HarnessError, match=r"a\.txt:1: expected STEPS JSON"):
        intervals_of(f"restart(intervals={tmp_path / 'a.txt'})")


def test_without_intervals_the_nearest_published_ones_are_recorded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        call = resolve(Call("restart", {"steps": 30, "guidance": 7.5}), {})
    assert call.params["intervals"] == [[10, 2, 0.1, 2]]
    assert (call.params["grid"], call.params["solver"]) == ("time", "euler")
    assert "at guidance 8" in caplog.text
    assert resolve(call, {}) == call  # a record says it all


@pytest.mark.parametrize(("guidance", "nfe"), [(2.0, 62), (3.0, 64), (5.0, 64), (8.0, 64)])
def test_published_costs_in_pairs(guidance: float, nfe: int) -> None:
    job = plan(str(TINY_SDXL), f"restart(steps=30, guidance={guidance})")
    assert job.nfe == 2 * nfe


def test_elsewhere_intervals_must_be_given() -> None:
    with pytest.raises(HarnessError, match=r"discrete times.*give intervals="):
        plan("gmm", "restart(steps=18)")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("restart(steps=1, guidance=8)", "take more steps"),
        ("restart(steps=30, grid=time, intervals=[[3, 1, 0.1, 40]])", "highest sigma"),
        ("restart(steps=30, grid=time, intervals=[[9, 1, 0.04, 0.045]])", "do not fit"),
    ],
)
def test_impossible_restarts_in_time_are_named(text: str, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        plan(str(TINY_SDXL), text)


def test_a_ladder_of_rounded_karras_levels_is_of_the_model_s_own(tiny_sdxl) -> None:  # type: ignore[no-untyped-def]
    sigmas = tiny_sdxl.ladder(29, "karras_rounded", rho=5.0)
    assert len(sigmas) == 30
    times = tiny_sdxl.schedule.time_of(sigmas)
    torch.testing.assert_close(times, times.round(), atol=1e-6, rtol=0)
