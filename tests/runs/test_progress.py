"""What is told of work while it is done: lines, a log of each rank, an answer to SIGUSR1."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from torch.distributed import TCPStore

from harness.core.errors import HarnessError
from harness.runs import ranks as ranks_module
from harness.runs.progress import Progress
from harness.runs.rank_log import folder_of_logs, usual_folder
from harness.runs.ranks import Ranks
from harness.runs.status import FILE, Status, deaf, in_words


def _two() -> list[Ranks]:
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    client = TCPStore("127.0.0.1", server.port, timeout=timedelta(seconds=20))
    return [Ranks(rank, rank, 2, store) for rank, store in enumerate((server, client))]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until it is set."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_times_in_words() -> None:
    words = {0: "0 s", 42: "42 s", 200: "3 min 20 s", 7500: "2 h 5 min", 273600: "3 d 4 h"}
    assert {seconds: in_words(seconds) for seconds in words} == words
    assert in_words(59.6) == "1 min"  # not 60 s


def test_the_time_left_is_that_of_the_network_not_of_its_loading(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """A minute of loading with the first batch, then 2 images/s: 96 are left, 48 s."""
    with Progress(Ranks(), "generate", 100) as progress:
        clock[0] += 60
        progress.add(2)
        assert progress.status().left is None
        clock[0] += 1
        progress.add(2, failed=1)
        assert progress.status().left == pytest.approx(48)
        assert capsys.readouterr().err == (
            "generate: 2/100 in 60 s, 0.033 images/s\n"
            "generate: 4/100 in 61 s, 2.0 images/s, 1 failed, about 48 s left\n"
        )
        clock[0] += 48
        progress.add(96)
    assert capsys.readouterr().err == "generate: 100/100 in 109 s, 0.9 images/s, 1 failed\n"


def test_short_work_has_one_line(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(Ranks(), "generate", 4) as progress:
        for _ in range(4):
            clock[0] += 1
            progress.add(1)
    assert capsys.readouterr().err == "generate: 4/4 in 4 s, 1.0 images/s\n"


def test_counts_and_failures_are_of_all_ranks(capsys: pytest.CaptureFixture[str]) -> None:
    bars = [Progress(ranks, "generate", 12) for ranks in _two()]

    def work(bar: Progress) -> None:
        with bar:
            for _ in bar.each(bar.ranks.share(range(3)), str):
                bar.add(4, failed=1)

    other = threading.Thread(target=work, args=(bars[1],))
    other.start()
    work(bars[0])
    other.join(20)
    assert re.fullmatch(
        r"generate: 12/12 in 0 s, \d+\.\d images/s, 3 failed\n", capsys.readouterr().err
    )


def test_a_status_says_what_each_rank_does() -> None:
    first, second = _two()
    with Progress(first, "generate", 8) as progress:
        assert progress.status(told=True).ranks[1] == "rank 1: nothing yet"
        second.tell("generate: part-3 of out/ddim")
        for _ in progress.each(["part-2 of out/ddim"], str):
            progress.add(4)
            lines = progress.status(told=True).whole().splitlines()
        assert lines[0].startswith("generate: 4/8")
        assert re.fullmatch(
            rf"  rank 0 \(\S+, process {os.getpid()}\): generate: part-2 of out/ddim, "
            r"since \d\d:\d\d:\d\d",
            lines[1],
        )
        assert "rank 1" in lines[2]
        assert "part-3 of out/ddim" in lines[2]
        threading.Thread(target=second.barrier, args=(progress._name,)).start()


def test_sigusr1_is_answered_and_work_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with Progress(Ranks(), "generate", 8) as progress:
        for _ in progress.each(["part-2"], str):
            progress.add(4)
            os.kill(os.getpid(), signal.SIGUSR1)
            told = _until(capsys, "since")
            progress.add(4)
    assert told.startswith("generate: 4/8")
    assert ": generate: part-2, since" in told
    assert signal.getsignal(signal.SIGUSR1) == before


def _until(capsys: pytest.CaptureFixture[str], word: str) -> str:
    text, began = "", time.monotonic()
    while word not in text and time.monotonic() - began < 20:
        text += capsys.readouterr().err
        time.sleep(0.02)
    return text


def test_processes_are_started_that_the_signal_does_not_end() -> None:
    with deaf():
        child = os.posix_spawn("/bin/sh", ["sh", "-c", "kill -USR1 $$; exit 7"], os.environ)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_parent_reads_the_status_of_its_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is left there while a batch takes its time, too."""
    monkeypatch.setattr(ranks_module, "_BEAT", 0.02)
    path = str(tmp_path / "status.json")
    monkeypatch.setenv(FILE, path)
    first, second = _two()
    stop = threading.Event()
    beating = threading.Thread(target=first.beat, args=(stop,))
    beating.start()
    with Progress(first, "generate", 8) as progress:
        progress.add(3, failed=1)
        second.tell("generate: part-5")
        began = time.monotonic()
        while "part-5" not in repr(found := Status.read(path)) and time.monotonic() - began < 20:
            time.sleep(0.02)
        threading.Thread(target=second.barrier, args=(progress._name,)).start()
    stop.set()
    beating.join(5)
    assert found is not None
    assert (found.title, found.done, found.total, found.failed) == ("generate", 3, 8, 1)
    assert "generate: part-5, since" in found.ranks[1]


def test_there_is_no_status_before_the_first() -> None:
    assert Status.read("nowhere") is None


def test_each_rank_has_a_log(tmp_path: Path) -> None:
    with Progress(Ranks(), "generate", 4, str(tmp_path)) as progress:
        for name in progress.each(["part-0", "part-1", "part-2"], str):
            if name != "part-1":  # that one is there already
                progress.add(2, failed=int(name == "part-2"))
            else:
                logging.getLogger("harness.elsewhere").warning("a picture is blank")
    logging.getLogger("harness.elsewhere").warning("later")
    stamps = re.compile(r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ")
    text = stamps.sub("", (next(tmp_path.glob("*.log"))).read_text())
    assert re.sub(r"\d+\.\d", "X", text).splitlines() == [
        f"INFO rank 0 of 1, process {os.getpid()}: generate, 4 images over all ranks",
        "INFO part-0: 2 images in X s",
        "WARNING a picture is blank",
        "INFO part-2: 2 images in X s, 1 failed",
        "INFO generate: 4/4 in 0 s, X images/s, 1 failed",
    ]


def test_what_is_taken_ahead_is_said_to_be_read(tmp_path: Path) -> None:
    with Progress(Ranks(), "evaluate", 4, str(tmp_path)) as progress:
        assert list(progress.read(["part-0", "part-1"], str)) == ["part-0", "part-1"]
        progress.add(4)
        assert ": evaluate: reads part-1, since" in progress.status(told=True).ranks[0]
    (log,) = tmp_path.glob("*.log")
    assert re.findall(r"INFO (reads .*)", log.read_text()) == ["reads part-0", "reads part-1"]


def test_a_log_says_what_stopped_a_rank(tmp_path: Path) -> None:
    with (
        pytest.raises(HarnessError),
        Progress(Ranks(), "generate", 4, str(tmp_path)),
    ):
        raise HarnessError("no room left")
    assert (
        "ERROR stopped: HarnessError no room left\n" in (next(tmp_path.glob("*.log"))).read_text()
    )


def test_logs_lie_in_the_folder_of_the_runs_at_work(tmp_path: Path) -> None:
    one, other = str(tmp_path / "a" / "x"), str(tmp_path / "a" / "y")
    Path(one).mkdir(parents=True)
    assert folder_of_logs(None, [one], 1) is None
    assert folder_of_logs(None, [one], 2) == f"{one}/logs"
    assert Path(one, "logs").is_dir()
    assert usual_folder([one, other]) == f"{tmp_path}/a/logs"
    assert folder_of_logs(None, ["s3://bucket/a", one], 2) is None
    assert folder_of_logs(None, [f"{tmp_path}/gone"], 2) is None  # a folder is not made again
    assert not Path(tmp_path, "gone").exists()
    assert folder_of_logs(str(tmp_path / "mine"), ["s3://bucket/a"], 1) == str(tmp_path / "mine")
    with pytest.raises(HarnessError, match="name a local folder"):
        folder_of_logs("s3://bucket/logs", [one], 1)


def test_a_dead_rank_is_named_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The second has told what it does, and then shows no sign of life."""
    monkeypatch.setattr(ranks_module, "_BEAT", 0.02)
    monkeypatch.setattr(ranks_module, "_SILENT", 0.3)
    first, second = _two()
    second.tell("generate: part-7 of out/ddim")
    stop = threading.Event()
    thread = threading.Thread(target=first.beat, args=(stop,))
    with first.watched():
        thread.start()
        with pytest.raises(HarnessError, match="1 of 2 processes have died or hang") as told:
            first.barrier("end")
    stop.set()
    thread.join(5)
    assert "rank 1 (" in str(told.value)
    assert "part-7 of out/ddim" in str(told.value)
    warned = [record.message for record in caplog.records if "no sign of life" in record.message]
    assert len(warned) == 1
    assert "part-7" in warned[0]


def test_a_rank_that_lives_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks_module, "_BEAT", 0.02)
    monkeypatch.setattr(ranks_module, "_SILENT", 0.3)
    first, second = _two()
    stop = threading.Event()
    beating = threading.Thread(target=second.beat, args=(stop,))
    beating.start()
    late = threading.Timer(1.0, second.barrier, ("end",))
    late.start()
    first.barrier("end")  # three times as long as a silent one is given
    stop.set()
    late.join(5)
    beating.join(5)
