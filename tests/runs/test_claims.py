"""Processes without a common launcher share one run by claims."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import harness
from harness.core.errors import HarnessError
from harness.core.shards import Prompt, plan_shards
from harness.runs import claims as claiming
from harness.runs.claims import Claims
from harness.runs.folder import Settings, open_run
from harness.runs.make import generate
from harness.runs.plan import plan
from harness.store import leftovers
from harness.store.run import Run

DDIM = plan("gmm", "ddim(steps=2)")
SHARDS = plan_shards([Prompt(f"p{i}", f"class {i}") for i in range(3)], [0, 1, 2, 3])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(DDIM, str(tmp_path / "run"), Settings())


def work(run: Run) -> list[tuple[object, Run, object]]:
    return [(DDIM, run, shard) for shard in SHARDS]


def make(run: Run, one: tuple[object, Run, object]) -> None:
    generate([one], Settings())  # type: ignore[list-item]


def held(run: Run) -> list[str]:
    folder = Path(run.path, "claims")
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_each_shard_is_taken_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claiming, "_WAIT", 0.01)
    seen: list[int] = []
    with Claims() as one, Claims() as other:
        first, second = one.share(work(run), seen.append), other.share(work(run))
        mine, yours = next(first), next(second)
        assert [mine[2].name, yours[2].name] == [SHARDS[0].name, SHARDS[1].name]
        assert len(held(run)) == 2
        make(run, yours)
        make(run, mine)
        assert next(first)[2].name == SHARDS[2].name
        assert held(run) == [f"{SHARDS[1].name}.0", f"{SHARDS[2].name}.0"]  # 0 is made: released
        for part in [mine, (DDIM, run, SHARDS[2]), (DDIM, run, SHARDS[3])]:
            make(run, part)
        assert list(first) == list(second) == []
    assert seen == []  # the other's was made before it was met again
    assert held(run) == []


def test_who_waits_goes_on_when_the_other_is_done(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "_WAIT", 0.01)
    seen: list[int] = []
    with Claims() as one, Claims() as other:
        mine = next(one.share(work(run)))
        later = threading.Timer(0.3, make, (run, mine))
        later.start()
        for part in other.share(work(run), seen.append):
            assert part[2].name != mine[2].name
            make(run, part)
        later.join()
    assert seen == [3]


def test_a_lease_that_ran_out_is_taken(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another machine, where nobody sees that the process is dead."""
    monkeypatch.setattr(claiming, "_WAIT", 0.01)
    monkeypatch.setattr(leftovers, "is_dead", lambda writer: False)
    dead = Claims(lease=1e9)  # whose thread was never started: it shows no life
    assert next(dead.share(work(run)))[2].name == SHARDS[0].name
    names, began = [], time.monotonic()
    with Claims(lease=0.4) as alive:
        for part in alive.share(work(run)):
            names.append(part[2].name)
            make(run, part)
    assert names[-1] == SHARDS[0].name
    assert time.monotonic() - began > 0.4
    assert len(names) == 4
    assert held(run) == []


def test_a_claim_is_kept_alive(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claiming, "_WAIT", 0.01)
    with Claims(lease=0.3) as slow, Claims(lease=0.3) as other:
        mine = next(slow.share(work(run)))
        names = []
        later = threading.Timer(1.0, make, (run, mine))
        later.start()
        for part in other.share(work(run)):
            names.append(part[2].name)
            make(run, part)
        later.join()
    assert mine[2].name not in names


def test_a_fixed_part_and_a_free_one_contradict() -> None:
    with pytest.raises(HarnessError, match="--shard is a part that is fixed"):
        harness.generate("ddim", model="gmm", prompts="unprompted", shard="0/2", claim=True)


@pytest.mark.slow
def test_three_processes_one_killed(tmp_path: Path) -> None:
    """Started one by one, without a launcher: the bytes of one process, and no claim left."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(f"class {n}" for n in range(4)))

    def command(out: str) -> list[str]:
        return [sys.executable, "-m", "harness", "generate", "ddim(steps=60, eta=1)", "--model",
                "gmm", "--prompts", str(prompts), "--seeds", "0-11", "--device", "cpu",
                "--out", str(tmp_path / out)]  # fmt: skip

    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command("alone"), env=env, check=True)
    three = [subprocess.Popen([*command("shared"), "--claim"], env=env) for _ in range(3)]
    folder = tmp_path / "shared" / "claims"
    while f"-{three[0].pid} " not in _contents(folder):
        time.sleep(0.005)
    three[0].send_signal(signal.SIGKILL)
    assert [process.wait() for process in three] == [-signal.SIGKILL, 0, 0]
    images = {p.name: p.read_bytes() for p in (tmp_path / "shared" / "images").iterdir()}
    assert len(images) == 12
    assert images == {p.name: p.read_bytes() for p in (tmp_path / "alone" / "images").iterdir()}
    assert list(folder.iterdir()) == []


def _contents(folder: Path) -> str:
    found = []
    for path in folder.glob("part-*"):
        with suppress(FileNotFoundError):
            found.append(path.read_text())
    return "".join(found)
