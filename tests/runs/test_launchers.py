"""torchrun, `accelerate launch` and `notebook_launcher` start processes that share one run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.core.errors import HarnessError
from harness.runs.ranks import Ranks
from tests.runs.conftest import shard_bytes

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
ACCELERATE = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
"""Of a machine without a GPU, too: with --cpu it starts one process."""

SCRIPT = """
import harness

if __name__ == "__main__":
    harness.sample("ddim(steps=1)", model="gmm", prompt="class 0")
    for seeds in ("0-2", "0-7"):
        harness.generate("ddim(steps=3, eta=1)", model="gmm", prompts="{prompts}", seeds=seeds,
                         device="cpu", out="{out}", workers={workers})
"""


def _run(script: str, folder: Path, *launcher: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(script)
    command = [sys.executable, *launcher, str(folder / "script.py")]
    if launcher == ():
        command = [sys.executable, str(folder / "script.py")]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "workers"),
    [(TORCHRUN, None), (ACCELERATE, None), ([], 2)],
    ids=["torchrun", "accelerate launch", "notebook_launcher"],
)
def test_two_processes_make_the_bytes_of_one(
    launcher: list[str],
    workers: int | None,
    prompts: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
) -> None:
    """Twice in one process, and after a picture was drawn there: the second call makes the rest."""
    script = SCRIPT.format(prompts=prompts, out=tmp_path / "run", workers=workers)
    done = _run(script, tmp_path, *launcher)
    assert done.returncode == 0, done.stderr
    assert shard_bytes(tmp_path / "run") == expected
    assert "Launching training" not in done.stdout


# One write a line: the processes share one pipe, and print writes its words one by one.
RANKS = """
import sys

from accelerate import PartialState
from harness.core.errors import HarnessError
from harness.runs.ranks import Ranks

{before}
try:
    ranks = Ranks.from_environment("cpu")
    here = ranks.add("here", 1)
    line = f"rank {{ranks.rank}} {{ranks.local_rank}} of {{ranks.world}} {{here}}"
except HarnessError as error:
    line = f"refused: {{error}}"
sys.stdout.write(line + "\\n")
"""


@pytest.mark.slow
def test_each_process_is_told_its_rank(tmp_path: Path) -> None:
    done = _run(RANKS.format(before=""), tmp_path, *TORCHRUN)
    told = sorted(line for line in done.stdout.splitlines() if line.startswith("rank"))
    assert [line[:13] for line in told] == ["rank 0 0 of 2", "rank 1 1 of 2"]
    assert sorted(line[-1] for line in told) == ["1", "2"]  # one counter for both


@pytest.mark.slow
def test_processes_that_accelerate_does_not_count_are_refused(tmp_path: Path) -> None:
    """`PartialState()` on a machine without a GPU says rank 0 of 1 in each process."""
    done = _run(RANKS.format(before="PartialState()"), tmp_path, *TORCHRUN)
    assert done.stdout.count("refused: WORLD_SIZE is 2, but accelerate counts 1") == 2


def test_a_launcher_has_started_its_processes(
    prompts: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(Ranks, "_here", Ranks(0, 0, 2))
    with pytest.raises(HarnessError, match="a launcher has started 2 processes already"):
        harness.generate("ddim", model="gmm", prompts=prompts, out=tmp_path, workers=2)


def test_what_stops_a_copy_is_said_once(prompts: Path, tmp_path: Path) -> None:
    """In a process of its own, which is forked: a copy finds a folder that it cannot write to."""
    script = """
from harness.core.errors import HarnessError
from harness.runs.workers import run_copies

def work():
    raise HarnessError("no room left")

try:
    run_copies(work, 2)
except HarnessError as error:
    print(error)
"""
    done = _run(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"(?m)^rank [01] stopped \(see above\); what is complete is kept", done.stdout)
    assert "harness: no room left" in done.stderr
