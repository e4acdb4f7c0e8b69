from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import accelerate.utils
import pytest
import torch
from torch.distributed import TCPStore

from harness.core.errors import HarnessError
from harness.runs.devices import default_workers, pick_device
from harness.runs.ranks import Ranks, parse_part
from harness.runs.workers import run_child


def _ranks(count: int) -> list[Ranks]:
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    wait = timedelta(seconds=20)
    stores = [
        server,
        *(TCPStore("127.0.0.1", server.port, timeout=wait) for _ in range(count - 1)),
    ]
    return [Ranks(rank, rank, count, store) for rank, store in enumerate(stores)]


def test_every_item_is_given_out_once() -> None:
    ranks = _ranks(3)
    taken: list[list[int]] = [[], [], []]

    def work(rank: int) -> None:
        taken[rank].extend(ranks[rank].share(range(100)))
        ranks[rank].barrier(ranks[rank].name("end"))
        taken[rank].extend(1000 + n for n in ranks[rank].share(range(10)))
        ranks[rank].barrier(ranks[rank].name("end"))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    given = sorted(n for part in taken for n in part)
    assert given == [*range(100), *range(1000, 1010)]


def test_one_process_alone_takes_everything() -> None:
    assert list(Ranks().share("abc")) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("wanted", "rank", "device"),
    [(None, 3, "cuda:3"), ("cuda", 2, "cuda:2"), ("cuda:5", 2, "cuda:5"), ("cpu", 1, "cpu")],
)
def test_each_rank_has_its_own_gpu(
    wanted: str | None, rank: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerate.utils, "is_cuda_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    assert pick_device(wanted, rank) == device


def test_workers_by_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerate.utils, "is_cuda_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    assert [default_workers(device) for device in (None, "cuda", "cuda:3")] == [8, 8, 1]
    with pytest.raises(HarnessError, match="sees 8 of them"):
        pick_device("cuda:12")
    with pytest.raises(HarnessError, match="unknown device 'tpu'"):
        pick_device("tpu")


@pytest.mark.parametrize("kind", ["xpu", "mps"])
def test_devices_that_are_not_here(kind: str) -> None:
    with pytest.raises(HarnessError, match=f"device {kind} was asked for, but torch sees none"):
        pick_device(kind)
    for text in ("cuda:x", "cpu:1", ""):
        with pytest.raises(HarnessError, match="unknown device"):
            pick_device(text)


def test_static_parts() -> None:
    assert parse_part("1/4") == (1, 4)
    for text in ("4/4", "a/2", "1", "-1/2"):
        with pytest.raises(HarnessError, match="i from 0 to n-1"):
            parse_part(text)


@pytest.mark.parametrize(("told", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_child_stops_with_its_parent_and_in_its_own_time(
    told: signal.Signals, status: int, tmp_path: Path
) -> None:
    begun, tidied = tmp_path / "begun", tmp_path / "tidied"
    child = (
        "import pathlib, signal, sys, time\n"
        "def tidy(*_):\n"
        f"    time.sleep(0.5); pathlib.Path({str(tidied)!r}).touch(); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, tidy)\n"
        f"pathlib.Path({str(begun)!r}).touch(); time.sleep(60)\n"
    )
    parent = (
        "import os, signal, sys\n"
        "from harness.runs.workers import run_child\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's & ignores it
        "try:\n"
        f"    run_child([sys.executable, '-c', {child!r}], os.environ)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent]) as process:
        while not begun.exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(told)
        assert process.wait(timeout=60) == status
    assert tidied.exists()


def test_a_child_that_ends_by_itself_gives_its_status() -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert run_child([sys.executable, "-c", "raise SystemExit(3)"], os.environ) == 3
    assert signal.getsignal(signal.SIGTERM) == before
