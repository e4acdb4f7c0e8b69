"""Work that is interrupted, or loses a process, ends soon, says so, and then goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

SAMPLER = """
import time
from itertools import pairwise

from harness.samplers.base import epsilon


def slow(denoise, x, sigmas, noise, *, guidance=1.0):
    time.sleep(0.3 * len(x))
    for s, t in pairwise(sigmas):
        x = x + (t - s) * epsilon(x, denoise(x, s, guidance), s)
    return x
"""

GENERATE = ["generate", "./slow.py:slow(steps=2)", "--model", "gmm", "--seeds", "0-39"]
BENCH = ["bench", "./slow.py:slow(steps=2)", "--baseline", "ddim", "--model", "gmm"]
BENCH += ["--seeds", "0-39", "--metrics", "contrast", "--curve", "none"]
SHARED = ["--prompts", "prompts.txt", "--device", "cpu"]
HARNESS = ["-m", "harness"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *HARNESS]
COMMANDS = {
    "one process": [*HARNESS, *GENERATE, *SHARED, "--out", "run"],
    "copies": [*HARNESS, *GENERATE, *SHARED, "--out", "run", "--workers", "2"],
    "torchrun": [*TORCHRUN, *GENERATE, *SHARED, "--out", "run"],
    "bench": [*HARNESS, *BENCH, *SHARED, "--results", "run", "--workers", "2"],
}

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a command in a session of its own, in a folder with a slow sampler."""
    (tmp_path / "slow.py").write_text(SAMPLER)
    (tmp_path / "prompts.txt").write_text("class 0\nclass 1\nclass 2")
    started = []

    def run(name: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *COMMANDS[name]],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            agent = psutil.Process(process.pid)
            for one in [*agent.children(recursive=True), agent]:
                one.kill()


def _images(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("**/images/*.parquet"))}


def _working(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until some images are there, and more are being made, by two processes if there are."""
    began, several = time.monotonic(), "--workers" in process.args or "torch" in str(process.args)
    while len(_images(folder)) < 2 or (several and not [*folder.glob("run/**/logs/rank-1.log")]):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() - began < 300
        time.sleep(0.1)


def _ended(process: subprocess.Popen[str]) -> tuple[str, float]:
    """What a process has said when it ends, and the seconds until then."""
    began = time.monotonic()
    told, _ = process.communicate(timeout=120)
    return told, time.monotonic() - began


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_ends_all_within_seconds(name: str, start: Start, tmp_path: Path) -> None:
    process = start(name)
    _working(process, tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C goes to all of them
    told, seconds = _ended(process)
    assert seconds < 20, told
    assert told.count("interrupted; what is complete is kept") >= 1, told
    assert process.returncode == (1 if name == "torchrun" else 130)  # torchrun's own is 1
    if name != "torchrun":  # it has tracebacks of its own
        assert "Traceback" not in told, told
    held = _images(tmp_path)
    time.sleep(1.5)  # several pictures' time
    assert _images(tmp_path) == held  # nobody is left behind


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", ["copies", "torchrun", "bench"])
def test_a_killed_process_ends_the_job_and_is_named(
    name: str, start: Start, tmp_path: Path
) -> None:
    process = start(name)
    _working(process, tmp_path)
    (log,) = tmp_path.glob("run/**/logs/rank-1.log")
    found = re.search(r"rank 1 of 2, process (\d+)", log.read_text())
    assert found
    os.kill(int(found[1]), signal.SIGKILL)
    told, seconds = _ended(process)
    assert seconds < 30, told
    assert process.returncode != 0
    assert re.search(rf"rank 1 \(process {found[1]}\) was ended by SIGKILL|rank +: 1 ", told), told
    if name == "bench":
        return
    again = start(name)
    told, _ = _ended(again)
    assert again.returncode == 0, told
    alone = tmp_path / "alone"
    (tmp_path / "run").rename(alone)  # the same command, in one process, from the beginning
    one = start("one process")
    told, _ = _ended(one)
    assert one.returncode == 0, told
    assert _images(tmp_path / "run") == _images(alone)


@pytest.mark.long
@pytest.mark.slow
def test_a_bench_tells_what_its_processes_do(start: Start, tmp_path: Path) -> None:
    """Asked alone, and then with all its processes, as a scheduler does; it goes on."""
    process = start("bench")
    _working(process, tmp_path)
    time.sleep(3)  # until the first has left its status
    os.kill(process.pid, signal.SIGUSR1)
    time.sleep(3)
    os.killpg(process.pid, signal.SIGUSR1)
    time.sleep(3)
    held = len(_images(tmp_path))
    assert process.poll() is None
    began = time.monotonic()
    while len(_images(tmp_path)) == held and time.monotonic() - began < 60:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    told, _ = _ended(process)
    assert len(_images(tmp_path)) > held, told
    for rank in (0, 1):
        assert re.search(rf"(?m)^  rank {rank} \(.*\): generate: part-\d+-\d+ of .*slow", told), (
            told
        )
    assert re.search(r"(?m)^generate: \d+/240 in \d+ s", told), told
