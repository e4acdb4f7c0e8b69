"""Processes that stay for several commands end with the one that started them, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from harness.core.errors import HarnessError
from harness.runs.crew import Crew
from harness.runs.status import FILE, Status

ROOT = Path(__file__).parents[2]

MEMBER = """
import os, pathlib, signal, sys, time
from harness.runs.crew import commands
from harness.runs.status import Status

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
for what, where in commands(sys.argv[1], 0):
    with open(where, "a") as file:
        file.write(f"{os.getpid()}\\n")
    Status("tests", 1, 2, 0, 1.0).write(os.environ["HARNESS_STATUS"])
    try:
        time.sleep(float(what))
    except ValueError:
        sys.exit(3)
    except SystemExit:
        time.sleep(0.5)  # what is open is closed in its own time
        pathlib.Path(where + ".tidied").touch()
        raise
"""
"""One process without a launcher, which stands for several: writes its number and waits."""


def _launcher(count: int, folder: str) -> Sequence[str]:
    return [sys.executable, "-c", MEMBER, folder]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def _gone(number: int) -> bool:
    try:
        return psutil.Process(number).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _until(true: Callable[[], object], seconds: float = 20) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)


def test_the_same_processes_do_all_commands_while_open(tmp_path: Path) -> None:
    crew, noted = Crew(_launcher), tmp_path / "noted"
    with crew:
        with crew:  # an experiment inside of another
            crew.do(["0", str(noted)], 1, _environment())
        assert crew.size == 1
        crew.do(["0", str(noted)], 1, _environment())
        first, second = _numbers(noted)
        assert first == second
        assert not _gone(first)
    assert crew.size == 0
    _until(lambda: _gone(first))
    crew.do(["0", str(noted)], 1, _environment())  # not open: processes of its own
    assert _numbers(noted)[2] != first
    _until(lambda: _gone(_numbers(noted)[2]))


def test_a_process_that_fails_is_an_error_and_others_are_started_next(tmp_path: Path) -> None:
    crew, noted = Crew(_launcher), tmp_path / "noted"
    with crew:
        with pytest.raises(HarnessError, match=r"harness no number stopped \(see above\)"):
            crew.do(["no number", str(noted)], 1, _environment())
        crew.do(["0", str(noted)], 1, _environment())
    assert len({*_numbers(noted)}) == 2
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_who_watches_is_told_the_status(tmp_path: Path) -> None:
    seen: list[Status] = []
    Crew(_launcher).do(["0", str(tmp_path / "noted")], 1, _environment(), seen.append)
    assert [(one.title, one.done) for one in seen] == [("tests", 1)]
    assert FILE == "HARNESS_STATUS"


PARENT = """
import json, os, signal, sys, time
from harness.runs.crew import Crew
member, commands = json.loads(sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
try:
    with Crew(lambda count, folder: [sys.executable, "-c", member, folder]) as crew:
        for command in commands:
            crew.do(command, 1, os.environ)
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start a process whose own are busy for so many seconds, and then idle."""
    started = []

    def start(seconds: str) -> subprocess.Popen[bytes]:
        given = json.dumps([MEMBER, [[seconds, str(tmp_path / "noted")]]])
        words = [sys.executable, "-c", PARENT, given]
        started.append(subprocess.Popen(words, env=_environment()))
        _until(lambda: _numbers(tmp_path / "noted"))
        time.sleep(0.3)  # until what is done is done
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("seconds", ["0", "60"], ids=["idle", "busy"])
@pytest.mark.parametrize(
    ("told", "status"),
    [(signal.SIGTERM, {143, -15}), (signal.SIGINT, {130}), (signal.SIGKILL, {-9})],
)
def test_all_end_with_the_process_that_started_them(
    told: signal.Signals,
    status: set[int],
    seconds: str,
    parent: Callable[[str], subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    process = parent(seconds)
    (number,) = _numbers(tmp_path / "noted")
    assert not _gone(number)
    process.send_signal(told)
    assert process.wait(timeout=10) in status
    _until(lambda: _gone(number), 10)
    assert (tmp_path / "noted.tidied").exists() == (seconds == "60")
