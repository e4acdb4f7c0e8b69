"""Another process starts only where that is the soonest way to be done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.core.shards import Grid, Prompt
from harness.experiments import stages
from harness.runs import repaying
from harness.runs.folder import Settings, open_run
from harness.runs.forecast import Forecast, ForeseenRun
from harness.runs.plan import plan
from harness.runs.rates import Recorded
from harness.runs.repaying import START, Alone, planned_processes, repaid

GRID = Grid([Prompt(str(n), f"class {n % 10}") for n in range(32)], range(8))  # 8 shards of 32


@pytest.mark.parametrize(
    ("seconds", "parts", "most", "count"),
    [
        (1000.0, 0, 8, 1),
        (1000.0, 1, 8, 1),  # one part is one process's
        (1000.0, 100, 1, 1),
        (0.0, 100, 8, 1),
        (2 * START, 2, 8, 1),  # as soon as one: not worth the trouble
        (2.1 * START, 2, 8, 2),
        (1e6, 100, 8, 8),
        (1e6, 9, 8, 5),  # two parts for some: five are done as soon as eight
    ],
)
def test_the_fewest_that_are_done_first(seconds: float, parts: int, most: int, count: int) -> None:
    assert repaid(seconds, parts, most) == count


@pytest.fixture
def work(tmp_path: Path) -> list[repaying.Item]:
    job, settings = plan("gmm", "ddim(steps=5)"), Settings()
    run = open_run(job, str(tmp_path / "set" / "gmm" / "run"), settings)
    return [(job, run, shard) for shard in GRID.shards(run.layout)]


@pytest.mark.parametrize(
    ("device", "recorded_on", "rate", "count"),
    [
        ("cpu", "here", 1e-5, 1),
        ("cpu", "here", 1.0, 4),
        ("cpu", "another CPU", 1.0, 1),  # the first shards will tell
        ("cpu", None, 1.0, 1),
        ("cuda", None, 1.0, 4),
        ("cuda", "here", 1e-5, 1),
        ("cuda", "here", 1.0, 4),
    ],
)
def test_what_is_recorded_decides_before_anything_is_made(
    device: str,
    recorded_on: str | None,
    rate: float,
    count: int,
    work: list[repaying.Item],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = recorded_on and Recorded(recorded_on, rate, 1.0)
    monkeypatch.setattr(repaying, "recorded", lambda results, job, device: known)
    monkeypatch.setattr(repaying, "device_name", lambda device: "here")
    settings = replace(Settings(), device=device)
    assert planned_processes(work, settings, 4) == count
    assert planned_processes(work[:1], settings, 4) == 1
    assert planned_processes(work, settings, 1) == 1


def _taken(
    work: list[repaying.Item], seconds: list[float], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, Alone]:
    """How many shards one process makes that take so long each, before others take the rest."""
    now, alone = [0.0], Alone(2)
    monkeypatch.setattr(repaying, "perf_counter", lambda: now[0])
    for at, _ in enumerate(alone.take(work)):
        now[0] += seconds[at]
    return len(work) - len(alone.rest), alone


def test_one_process_goes_on_alone_until_others_repay(
    work: list[repaying.Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(work) == 8
    quick, alone = _taken(work, [60.0, *[1.0] * 7], monkeypatch)  # most of the first is loading
    assert (quick, alone.count, alone.rest) == (8, 1, [])
    slow, alone = _taken(work, [20.0] * 8, monkeypatch)
    assert (slow, alone.count, alone.rest) == (2, 2, work[2:])
    assert _taken(work, [100.0] * 8, monkeypatch)[0] == 1  # the first tells enough
    assert _taken(work, [1.0, 1.0, *[9.0] * 6], monkeypatch)[0] == 8  # others were in the way


def test_runs_have_their_own_pace(
    work: list[repaying.Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sampler that waits, beside one that does not, is what the others are for."""
    job = plan("gmm", "heun(steps=5)")
    run = open_run(job, str(tmp_path / "set" / "gmm" / "other"), Settings())
    both = [one for item in work for one in (item, (job, run, item[2]))]
    assert _taken(both, [9.0, 0.1] * 8, monkeypatch)[0] == 3
    assert _taken(both, [0.1, 9.0] * 8, monkeypatch)[0] == 2


def test_others_take_what_is_left_and_tell_of_all(
    work: list[repaying.Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images are those of one process, and each is made once."""
    told: list[Any] = []

    def stop_after_three(self: Alone, given: list[repaying.Item]) -> Iterator[repaying.Item]:
        yield from given[:3]
        self.count, self.rest = 2, given[3:]

    def launch(command: list[str], workers: int, settings: Settings) -> None:
        from harness.runs.ranks import Ranks
        from harness.runs.work import make_work, read_work

        listed, own, made = read_work(command[1], Ranks())
        told.append((workers, len(listed), made))
        make_work(listed, own, made=made)

    monkeypatch.setattr(Alone, "take", stop_after_three)
    monkeypatch.setattr(stages, "launch", launch)
    stages.hand_out(work, replace(Settings(), workers=2))
    assert told == [(2, 5, 96)]
    run = harness.load_run(work[0][1].path)
    assert len(run.shards()) == 8


def test_a_forecast_counts_the_processes_that_will_be_started(work: list[repaying.Item]) -> None:
    runs, settings = [ForeseenRun("a", work[0][0], 320)], replace(Settings(), workers=4)

    def told(seconds: float) -> str:
        return Forecast(runs, settings, seconds, "as known", 0.0, "").lines[1]

    assert told(12.0) == "time: about 12 s with 1 process, as known"
    assert told(3600.0) == f"time: about {(900 + START) / 60:.0f} min with 4 processes, as known"


@pytest.mark.long
@pytest.mark.slow
def test_the_processes_that_make_a_run_evaluate_it(work: list[repaying.Item]) -> None:
    """As they do on GPUs, after the model has left the memory."""
    settings, run = Settings.chosen("cpu", 1, None, 2), work[0][1]
    with settings.crew:
        stages._share(work, work, 2, settings)
        stages.launch(["evaluate", run.path, "--metrics", "contrast"], 2, settings)
    assert len(run.shards("scores/contrast")) == len(work)
    for rank in range(2):
        log = Path(run.path, "logs", f"rank-{rank}.log").read_text()
        found = re.findall(rf"rank {rank} of 2, process (\d+): (generate|evaluate)", log)
        assert [title for _, title in found] == ["generate", "evaluate"]
        assert len({number for number, _ in found}) == 1
