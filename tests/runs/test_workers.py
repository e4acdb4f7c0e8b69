from __future__ import annotations

import threading
from datetime import timedelta

import accelerate.utils
import pytest
import torch
from torch.distributed import TCPStore

from harness.core.errors import HarnessError
from harness.runs.devices import default_workers, pick_device
from harness.runs.ranks import Ranks, parse_part


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
