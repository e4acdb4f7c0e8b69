"""Processes that this one starts: a command of its own, or copies of a notebook's."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, TextIO

from harness.core.errors import HarnessError
from harness.runs.status import FILE, Status, answering, deaf, say

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

_WATCH = 2.0  # seconds between two looks at the status of a child


def run_child(
    command: Sequence[str],
    environment: Mapping[str, str],
    watch: Callable[[Status], object] = lambda status: None,
) -> int:
    """Run a command to its end; its exit status. `watch` gets the status of its work now and then.

    Where this process is stopped (by Ctrl-C, or a scheduler's SIGTERM to it alone), so is the
    child, which gets the time to stop its own: a killed torchrun would leave its workers behind,
    with a GPU each. Signals reach the main thread alone: elsewhere only an error stops the child.
    """
    with _status_file() as path, _sigterm_exits():
        with deaf():
            child = subprocess.Popen(command, env={**environment, FILE: path})
        with answering(lambda: _status(path)), child:
            try:
                return _watched(child, path, watch)
            finally:
                child.terminate()  # nothing if it has ended
                child.wait()


def _watched(child: subprocess.Popen[bytes], path: str, watch: Callable[[Status], object]) -> int:
    """The exit status of a child, once it ends."""
    ended = None
    while ended is None:
        with suppress(subprocess.TimeoutExpired):
            ended = child.wait(_WATCH)
        if status := Status.read(path):
            watch(status)
    return ended


@contextmanager
def _status_file() -> Iterator[str]:
    """A place for the status of processes that are started here."""
    with tempfile.TemporaryDirectory() as folder:
        yield str(Path(folder, "status.json"))


def _status(path: str) -> str:
    """What the processes of this one do, in words."""
    status = Status.read(path)
    return status.whole() if status else "harness: its processes are starting"


@contextmanager
def _sigterm_exits() -> Iterator[None]:
    """Let SIGTERM end this process as an exception, so that what is open is closed."""
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


def run_copies(work: Callable[[], None], count: int) -> None:
    """Do `work` in `count` copies of this process, started by accelerate's `notebook_launcher`.

    What this process has loaded and registered is there in each, as they are forked. Raises
    HarnessError where one of them fails, or a GPU was used here before.
    """
    from accelerate import notebook_launcher
    from accelerate.utils import patch_environment
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    threads, copied = os.environ.get("OMP_NUM_THREADS", "1"), (work, sys.stdout)
    try:
        with (
            _status_file() as path,
            answering(lambda: _status(path)),
            patch_environment(omp_num_threads=threads, **{FILE: path}),
            redirect_stdout(io.StringIO()),
        ):
            notebook_launcher(_copy, copied, num_processes=count, use_port=port)
    except ChildFailedError as error:
        raise HarnessError(
            f"{first_failure(error)}; what is complete is kept: run it again"
        ) from None
    except SignalException as error:  # torch's own handler turned the signal into this
        if error.sigval is signal.SIGINT:
            raise KeyboardInterrupt from None
        sys.exit(128 + error.sigval)
    except (RuntimeError, ValueError) as error:  # of accelerate, in sentences
        raise HarnessError(f"{error} Or use torchrun: it starts processes of its own") from None


def first_failure(error: ChildFailedError) -> str:
    """Which of a launcher's processes stopped first, and how."""
    rank, failure = error.get_first_failure()
    if failure.exitcode >= 0:
        return f"rank {rank} stopped (see above)"
    return f"rank {rank} (process {failure.pid}) was ended by {failure.signal_name()}"


def _copy(work: Callable[[], None], out: TextIO) -> None:
    sys.stdout = out
    signal.signal(signal.SIGINT, signal.default_int_handler)  # not as the launcher handles them
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        work()
    except HarnessError as error:
        say(f"harness: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)  # the parent says it
