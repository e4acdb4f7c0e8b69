"""Processes that this one starts: a command of its own, or copies of a notebook's."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from socket import socket
from typing import TextIO

from harness.core.errors import HarnessError


def run_child(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command to its end; its exit status.

    Where this process is stopped (by Ctrl-C, or a scheduler's SIGTERM to it alone), so is the
    child, which gets the time to stop its own: a killed torchrun would leave its workers behind,
    with a GPU each. Signals reach the main thread alone: elsewhere only an error stops the child.
    """
    with _sigterm_exits(), subprocess.Popen(command, env=dict(environment)) as child:
        try:
            return child.wait()
        finally:
            child.terminate()  # nothing if it has ended
            child.wait()


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
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    threads, copied = os.environ.get("OMP_NUM_THREADS", "1"), (work, sys.stdout)
    try:
        with patch_environment(omp_num_threads=threads), redirect_stdout(io.StringIO()):
            notebook_launcher(_copy, copied, num_processes=count, use_port=port)
    except ChildFailedError:
        raise HarnessError(
            "a process stopped (see above); what is complete is kept: run it again"
        ) from None
    except (RuntimeError, ValueError) as error:  # of accelerate, in sentences
        raise HarnessError(f"{error} Or use torchrun: it starts processes of its own") from None


def _copy(work: Callable[[], None], out: TextIO) -> None:
    sys.stdout = out
    try:
        work()
    except HarnessError as error:
        print(f"harness: {error}", file=sys.stderr)
        sys.exit(2)
