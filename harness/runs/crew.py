"""Processes that do commands of this one, one after another: started once, they stay until it ends.

The process that starts them leaves each command as a file in a folder, and waits until each of them
has left another beside it. They hold the end of a pipe: when the other end is closed, by
whatever ends the process that started them, they end too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

from harness.core.errors import HarnessError
from harness.runs.status import FILE, Status, answering, deaf
from harness.runs.workers import told_by

_LOOK = 0.05  # seconds between two looks for a file
_WATCH = 2.0  # between two at the status of the work
_PATIENCE = 30.0  # for processes that have nothing left to do: 3 s, more on a busy machine


Launcher = Callable[[int, str], Sequence[str]]


def _torchrun(count: int, folder: str) -> Sequence[str]:
    launcher = [sys.executable, "-m", "harness.runs.torchrun", "--standalone"]
    return [*launcher, f"--nproc-per-node={count}", "-m", "harness", "serve", folder]


class Crew:
    """Processes that torchrun starts for the first command, and that stay while this is open.

    May be opened again while it is open: the outermost `with` ends them. Where it is not open, each
    command has processes of its own.
    """

    def __init__(self, launcher: Launcher | None = None) -> None:
        """`launcher` gives the words that start so many processes, each of which does what
        `commands` of a folder yields; torchrun's by default."""
        self._launcher = launcher or _torchrun
        self._opened = 0
        self._started: _Started | None = None

    @property
    def size(self) -> int:
        """How many processes are there; 0 before the first command."""
        return self._started.count if self._started else 0

    def __enter__(self) -> Crew:
        self._opened += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened -= 1
        if not self._opened:
            self._end(at_once=kind is not None)

    def _end(self, *, at_once: bool) -> None:
        started, self._started = self._started, None
        if started:
            started.end(at_once=at_once)

    def do(
        self,
        command: Sequence[str],
        count: int,
        environment: Mapping[str, str],
        watch: Callable[[Status], object] = lambda status: None,
    ) -> None:
        """Have a `harness` command done by all processes, `count` of them if none is there yet.

        `watch` gets the status of its work now and then. Raises HarnessError where one of them
        fails.
        """
        with self, _sigterm_exits():
            if self._started is None:
                self._started = _Started(self._launcher, count, environment)
            if not self._started.do(command, watch):
                self._end(at_once=True)
                raise HarnessError(
                    f"harness {command[0]} stopped (see above); what is complete is kept: run it "
                    "again"
                )


class _Started:
    """A launcher and its `count` processes, which wait for commands."""

    def __init__(self, launcher: Launcher, count: int, environment: Mapping[str, str]) -> None:
        self.count, self._done = count, 0
        self._folder = TemporaryDirectory()
        self._status = str(Path(self._folder.name, "status.json"))
        words, environment = launcher(count, self._folder.name), {**environment, FILE: self._status}
        with deaf():
            self._child = subprocess.Popen(words, env=environment, stdin=subprocess.PIPE)

    def do(self, command: Sequence[str], watch: Callable[[Status], object]) -> bool:
        """Whether the command was done; if not, the processes have ended."""
        Path(self._status).unlink(missing_ok=True)  # of the command before
        self._done += 1
        folder = self._folder.name
        _leave(_command(folder, self._done), command)
        replies = [_reply(folder, self._done, rank) for rank in range(self.count)]
        looked = time.monotonic()
        with answering(lambda: told_by(self._status)):
            while not all(one.exists() for one in replies):
                if self._child.poll() is not None:
                    return False
                time.sleep(_LOOK)
                if time.monotonic() - looked > _WATCH:
                    looked = time.monotonic()
                    self._tell(watch)
        self._tell(watch)
        return True

    def _tell(self, watch: Callable[[Status], object]) -> None:
        if status := Status.read(self._status):
            watch(status)

    def end(self, *, at_once: bool) -> None:
        """End the processes, in the middle of their work if `at_once`.

        The launcher gets the time to stop its own.
        """
        with suppress(subprocess.TimeoutExpired), self._folder:
            if at_once:
                self._child.terminate()  # nothing if it has ended
                self._child.wait()
            assert self._child.stdin is not None
            self._child.stdin.close()
            self._child.wait(_PATIENCE)
            return
        self._child.terminate()
        self._child.wait()


@contextmanager
def _sigterm_exits() -> Iterator[None]:
    """Let SIGTERM end this process as an exception, so that what is open is closed.

    Signals reach the main thread alone: elsewhere only an error ends the processes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _stop(number: int, frame: object) -> None:
    sys.exit(128 + number)


def commands(folder: str, rank: int) -> Iterator[list[str]]:
    """The commands that `Crew` leaves for the process of this rank; each is done when the next is
    asked for. Ends when the process that started this one closes the pipe, or is gone."""
    if hasattr(signal, "SIGUSR1"):  # between two commands the one that starts them answers
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    ended, busy = threading.Event(), threading.Event()
    threading.Thread(target=_await_end, args=(ended, busy), daemon=True).start()
    for at in range(1, sys.maxsize):
        while not _command(folder, at).exists():
            if ended.wait(_LOOK):
                return
        with _set(busy):
            if ended.is_set():
                return
            yield json.loads(_command(folder, at).read_text(encoding="utf-8"))
        _leave(_reply(folder, at, rank), [])


def _await_end(ended: threading.Event, busy: threading.Event) -> None:
    """Wait until the pipe is closed. In the middle of work nobody waits for it any more."""
    os.read(0, 1)  # nothing is ever written; not sys.stdin, whose lock would stop the exit
    ended.set()
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _set(event: threading.Event) -> Iterator[None]:
    event.set()
    yield
    event.clear()


def _command(folder: str, number: int) -> Path:
    return Path(folder, f"{number}.json")


def _reply(folder: str, number: int, rank: int) -> Path:
    return Path(folder, f"{number}-{rank}.done")


def _leave(path: Path, words: Sequence[str]) -> None:
    """Write a file that is there only when it is whole."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(list(words)), encoding="utf-8")
    os.replace(new, path)
