"""Shards shared by processes without a common launcher: each takes one by a file beside the run.

A claim is `claims/SHARD.N`, which only one process can make, on a disk and in an object store that
knows conditional writes (S3's `If-None-Match`). Its owner writes into it how often it was alive.
Where it has not for LEASE seconds, by the clock of who looks, or where its process is seen to be
dead, another takes the shard by the next number. So no clocks are compared. Pictures do not depend
on claims: a process that was only asleep makes the same bytes again.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TypeVar

from harness.core.errors import HarnessError
from harness.core.shards import Shard
from harness.store import files, leftovers
from harness.store.run import Run

LEASE = 120.0
_BEATS = 6  # in a lease
_WAIT = 1.0  # seconds until it is looked again what others have done

Job = TypeVar("Job")


class Claims:
    """The claims of this process, kept alive by a thread until the `with` block ends."""

    def __init__(self, lease: float = LEASE) -> None:
        self._lease = lease
        self._who = f"{leftovers.writer()} {uuid.uuid4().hex[:8]}"
        self._held: dict[str, tuple[Run, Shard]] = {}
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._beats = 0
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._keep_alive, daemon=True)

    def __enter__(self) -> Claims:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(OSError, HarnessError):  # whoever waits for them waits a lease
            for path in list(self._held):
                self._release(path)

    def share(
        self,
        work: Sequence[tuple[Job, Run, Shard]],
        made_elsewhere: Callable[[int], object] = lambda images: None,
    ) -> Iterator[tuple[Job, Run, Shard]]:
        """What this process is to make, until everything is made, by this one or others.

        `made_elsewhere` is called with the number of images of each shard that others made.
        """
        left = [(one, False) for one in work]
        while left:
            waiting = []
            for one, waited in left:
                _, run, shard = one
                if run.has_images(shard):
                    if waited:
                        made_elsewhere(shard.count)
                elif self._take(run, shard):
                    yield one
                else:
                    waiting.append((one, True))
            if len(waiting) == len(left):
                time.sleep(_WAIT)
            left = waiting

    def _take(self, run: Run, shard: Shard) -> bool:
        """Claim a shard, where nobody who is alive has."""
        self._release_made()
        folder = files.join(run.path, "claims")
        numbers = _numbers(folder, shard.name)
        if numbers and not self._dead(_file(folder, shard.name, numbers[-1])):
            return False
        path = _file(folder, shard.name, numbers[-1] + 1 if numbers else 0)
        if not files.write_new(path, self._sign(), run.owner):
            return False
        with self._lock:
            self._held[path] = (run, shard)
        return True

    def _dead(self, path: str) -> bool:
        """Whether the owner of a claim has died, or shown no life for a lease."""
        try:
            content = files.read_bytes(path)
        except FileNotFoundError:
            return False  # released: the shard is made, or somebody else looks after it
        before, since = self._seen.get(path, (b"", 0.0))
        now = time.monotonic()
        if content != before:
            self._seen[path] = (content, now)
            return leftovers.is_dead(content.decode(errors="replace").partition(" ")[0])
        return now - since > self._lease

    def _sign(self) -> bytes:
        return f"{self._who} {self._beats}\n".encode()

    def _keep_alive(self) -> None:
        while not self._stop.wait(self._lease / _BEATS):
            self._beats += 1
            with self._lock, suppress(OSError, HarnessError):  # who writes the images says it
                for path, (run, _) in self._held.items():
                    files.write_bytes(path, self._sign(), run.owner)

    def _release_made(self) -> None:
        for path, (run, shard) in list(self._held.items()):
            if run.has_images(shard):
                self._release(path)

    def _release(self, path: str) -> None:
        """Remove a claim, with those of the dead before it."""
        with self._lock:
            run, shard = self._held.pop(path)
            folder = files.join(run.path, "claims")
            for number in _numbers(folder, shard.name):
                files.remove(_file(folder, shard.name, number))


def _file(folder: str, name: str, number: int) -> str:
    return files.join(folder, f"{name}.{number}")


def _numbers(folder: str, name: str) -> list[int]:
    """The numbers of the claims on a shard, increasing."""
    found = (one.rpartition(".") for one in files.list_files(folder, ""))
    return sorted(int(number) for shard, _, number in found if shard == name and number.isdigit())
