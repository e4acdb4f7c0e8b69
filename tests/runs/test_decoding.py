"""Decoding beside sampling, on a device that is made up: it goes on only when it is waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.core.errors import HarnessError
from harness.core.shards import Prompt, plan_shards
from harness.engine.ensemble import Ensemble
from harness.models.base import LoadRequest
from harness.runs import decoding, make
from harness.runs.decoding import Decoding, HostLane
from harness.runs.finishing import Finisher
from harness.runs.folder import Settings, open_run
from harness.runs.make import generate
from harness.runs.maker import Maker
from harness.runs.plan import PlannedRun, plan
from harness.store.pictures import decode
from harness.store.run import Run

PLAN = plan("gmm", "ddim(steps=3)")
PROMPTS = [Prompt(f"p{i}", f"class {i}") for i in range(10)]
BATCH = 2


class FakeMark:
    """Reached when it is waited for and `gate` is open; `at` is the device's time in ms."""

    def __init__(self, lane: FakeLane, name: str) -> None:
        self.lane, self.name, self.at = lane, name, float(len(lane.log))

    def synchronize(self) -> None:
        self.lane.log.append(f"wait {self.name}")
        assert self.lane.gate.wait(10)
        for give in self.lane.copies.pop(self.name, []):
            give()

    def elapsed_time(self, later: Any) -> float:
        return float(later.at - self.at)


class FakeLane:
    """A device beside the host: what is fetched holds garbage until a later mark is reached."""

    apart = True

    def __init__(self) -> None:
        self.log: list[str] = []
        self.copies: dict[str, list[Callable[[], object]]] = {}
        self.gate = threading.Event()
        self.gate.set()
        self._side, self._batches = False, 0
        self._open: list[Callable[[], object]] = []

    def mark(self) -> FakeMark:
        if not self._side:
            self._batches += 1
            self.log.append(f"sample {self._batches}")
            return FakeMark(self, f"start {self._batches}")
        name = str(self._batches)
        self.copies[name], self._open = self._open, []
        return FakeMark(self, name)

    @contextmanager
    def aside(self) -> Iterator[None]:
        self.log.append(f"decode {self._batches}")
        self._side = True
        yield
        self._side = False

    def fetch(self, tensor: torch.Tensor) -> torch.Tensor:
        host, held = torch.zeros_like(tensor), tensor.clone()
        self._open.append(lambda: np.copyto(host.numpy(), held.numpy()))
        return host


@pytest.fixture
def lane(monkeypatch: pytest.MonkeyPatch) -> FakeLane:
    made = FakeLane()
    monkeypatch.setattr(decoding, "lane_of", lambda model: made)
    return made


def made(folder: Path, job: PlannedRun = PLAN, **told: Any) -> Run:
    settings = Settings("cpu", 1, BATCH)
    run = open_run(job, str(folder), settings)
    generate(((job, run, one) for one in plan_shards(PROMPTS, [0])), settings, **told)
    return Run.open(str(folder))


def pictures(run: Run) -> list[list[int] | None]:
    return [
        None if cell is None else decode(cell["bytes"]).ravel().tolist()  # type: ignore[union-attr]
        for cell in run.frame("images")["image"]
    ]


def test_a_batch_is_sampled_before_the_pictures_of_the_one_before_are_waited_for(
    lane: FakeLane, tmp_path: Path
) -> None:
    lane.gate.clear()
    opened = threading.Timer(0.3, lane.gate.set)  # the host goes ahead of a device that stands
    opened.start()
    made(tmp_path / "run")
    log = lane.log
    assert log.index("sample 2") < log.index("decode 2")
    assert [at for at in log if at.startswith("wait")] == [f"wait {at}" for at in range(1, 6)]
    assert log.index("decode 1") < log.index("sample 2")
    # two batches' pictures at most: the third begins when the first is done
    assert log.index("wait 1") < log.index("sample 3")
    assert log.index("wait 3") < log.index("sample 5")


def test_no_more_than_two_batches_are_under_way(lane: FakeLane, tmp_path: Path) -> None:
    lane.gate.clear()
    seen: list[list[str]] = []

    def look() -> None:
        seen.append([at for at in lane.log if at.startswith("sample")])
        lane.gate.set()

    threading.Timer(1.0, look).start()
    made(tmp_path / "run")
    assert seen == [["sample 1", "sample 2"]]


def test_runs_made_beside_are_those_made_in_order(
    lane: FakeLane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = made(tmp_path / "beside")
    assert lane.log
    monkeypatch.setattr(decoding, "lane_of", lambda model: HostLane())
    in_order = made(tmp_path / "in-order")
    for table in ("images", "guidance"):
        for shard in in_order.shards():
            one, other = (run.read(table, shard).to_pylist() for run in (beside, in_order))
            assert str(one) == str(other)


def test_failures_are_those_of_their_own_batch(
    lane: FakeLane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, count = Ensemble.run, [0]

    def third_fails(self: Ensemble, *given: Any, **named: Any) -> Any:
        batch = run(self, *given, **named)
        count[0] += len(batch.native) == BATCH
        if count[0] == 3 and len(batch.native) == BATCH:
            with torch.inference_mode():
                batch.native[1] = torch.nan
        return batch

    monkeypatch.setattr(Ensemble, "run", third_fails)
    told: list[tuple[int, int]] = []
    found = made(tmp_path / "run", progress=lambda images, failed: told.append((images, failed)))
    assert found.frame("images")["failed"].notna().tolist().index(True) == 5
    assert [picture is None for picture in pictures(found)].count(True) == 1
    assert told == [(2, 0), (2, 0), (2, 1), (2, 0), (2, 0)]


def test_an_error_of_the_reader_reaches_the_caller_and_no_shard_is_written(
    lane: FakeLane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Finisher, pixels: torch.Tensor, failed: list[str | None]) -> Any:
        raise HarnessError("no room")

    monkeypatch.setattr(Finisher, "encode", broken)
    with pytest.raises(HarnessError, match="no room"):
        made(tmp_path / "run")
    assert not Run.open(str(tmp_path / "run")).shards()


def test_a_shard_is_written_when_all_its_batches_are_there(
    lane: FakeLane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    write = make.write_shard

    def watched(*given: Any) -> None:
        seen.append([at for at in lane.log if at.startswith("wait")])
        write(*given)

    monkeypatch.setattr(make, "write_shard", watched)
    run = made(tmp_path / "run")
    assert seen[-1] == [f"wait {at}" for at in range(1, 6)]
    assert len(run.frame("images")) == len(PROMPTS)


def test_times_count_what_is_computed_at_once_once() -> None:
    lane, model = FakeLane(), PLAN.entry.load(LoadRequest({}, "cpu", "float64"))
    decoder = Decoding(model, lane)
    batch = torch.zeros(1, 3, 8, 8, dtype=torch.float64)

    def pending(began: float, ended: float, start: FakeMark) -> Any:
        found = decoder.start(decoding.Batch(batch, {}), start)
        start.at, found.marks[1].at = began, ended  # type: ignore[attr-defined]
        return found

    first = pending(0, 100, decoder.begin())  # type: ignore[arg-type]
    second = pending(80, 190, decoder.begin())  # type: ignore[arg-type]  # beside the first
    third = pending(300, 400, decoder.begin())  # type: ignore[arg-type]  # after a pause
    assert [one.seconds for one in (first, second, third)] == [0.1, 0.09, 0.1]


def test_out_of_memory_beside_another_batch_is_tried_alone_before_it_is_halved(
    lane: FakeLane,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run, sizes = Ensemble.run, []

    def cramped(self: Ensemble, call: Any, texts: list[str], *given: Any, **named: Any) -> Any:
        sizes.append(len(texts))
        if sizes == [BATCH] * 2:
            threading.Timer(0.2, lane.gate.set).start()
            raise torch.cuda.OutOfMemoryError
        if len(sizes) == 4:
            raise torch.cuda.OutOfMemoryError
        return run(self, call, texts, *given, **named)

    settings = Settings("cpu", 1, BATCH)
    job, finisher = PLAN, Finisher(lambda images, failed: None, 1)
    models = settings.loaded.models(job, settings)
    maker = Maker(job, models, settings, finisher)
    maker.models.warm.add(job.spec.pixels)
    monkeypatch.setattr(Ensemble, "run", cramped)
    lane.gate.clear()
    (shard,) = plan_shards(PROMPTS[:6], [0])
    batches = [one.result() for one in maker.shard(job.spec, shard)]
    assert [len(batch.failed) for batch in batches] == [2, 2, 1, 1]
    assert sizes == [2, 2, 2, 2, 1, 1]
    said = [record.getMessage() for record in caplog.records]
    assert "decoded before the next one begins" in said[0]
    assert "out of memory at a batch of 2: going on with halves" in said[1]
    finisher.__exit__(None, None, None)
