"""Copies of a notebook's process, which it starts."""

from __future__ import annotations

import io
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, TextIO

from harness.core.errors import HarnessError
from harness.runs.status import FILE, Status, answering, say

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


@contextmanager
def _status_file() -> Iterator[str]:
    """A place for the status of processes that are started here."""
    with tempfile.TemporaryDirectory() as folder:
        yield str(Path(folder, "status.json"))


def told_by(path: str) -> str:
    """What the processes of this one do, in words."""
    status = Status.read(path)
    return status.whole() if status else "harness: its processes are starting"


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
            answering(lambda: told_by(path)),
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
