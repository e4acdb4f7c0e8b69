"""Progress over all ranks: on the first rank's terminal, in each rank's log, and when asked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import TypeVar

from harness.core.errors import HarnessError
from harness.runs import rank_log
from harness.runs.rank_log import events
from harness.runs.ranks import Ranks
from harness.runs.status import FILE, Status, answering, in_words, say, speed_in_words
from harness.runs.tracking import NO_TRACKER, Tracker

T = TypeVar("T")

_LINE = 30.0  # seconds between two lines where there is no terminal
_NOTE = 2.0  # between two values of a tracker


class Progress:
    """Counts images over all ranks; only rank 0 shows a bar, with failures, images/s and time left.

    Where standard error is no terminal, a line is printed when the speed is known, and then every
    half minute. `log` is a folder for a log of each rank. SIGUSR1 prints what each rank does.
    """

    def __init__(
        self,
        ranks: Ranks,
        title: str,
        total: int,
        log: str | None = None,
        tracker: Tracker = NO_TRACKER,
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        self.ranks, self.title, self.total = ranks, title, total
        self._log, self._tracker = log if total else None, tracker
        self._name = ranks.name(title)
        self._own = self._own_failed = 0
        self._began = self._printed = self._noted = time.monotonic()
        self._first: tuple[int, float] | None = None  # images and time when a batch was made
        self._corrected = False  # whether the time left was told
        self._open = ExitStack()
        console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            console=console,
            disable=ranks.rank != 0 or not console.is_terminal,
        )
        self._lines = ranks.rank == 0 and not console.is_terminal
        self._task = self._bar.add_task(title, total=total, rate="")

    def __enter__(self) -> Progress:
        self._open.enter_context(rank_log.kept(self._log, self.ranks.label))
        self._open.enter_context(self.ranks.watched(self._tell_parent))
        self._open.enter_context(answering(self._answer))
        self._bar.start()
        self.ranks.tell(f"{self.title}: starts")
        place = f"rank {self.ranks.rank} of {self.ranks.world}, process {os.getpid()}"
        events.info("%s: %s, %d images over all ranks", place, self.title, self.total)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._end()
            else:
                expected = isinstance(error, HarnessError | KeyboardInterrupt | GeneratorExit)
                events.error("stopped: %s %s", kind.__name__, error, exc_info=not expected)
        finally:
            self._bar.stop()
            self._open.close()

    def _end(self) -> None:
        self.ranks.tell(f"{self.title}: done, waits for the others")
        self.ranks.barrier(self._name, lambda: self.add(0))
        self.add(0)
        status = self.status()
        events.info("%s", status)
        if self.ranks.rank == 0:
            self._tracker.progress(status)
            self._tell_parent()
        if self.ranks.rank == 0 and not self.total:
            self._bar.console.print(f"{self.title}: nothing to do", markup=False)
        elif self._lines:
            say(str(status))

    def read(self, items: Iterable[T], name: Callable[[T], str]) -> Iterator[T]:
        """The items, some of which are taken ahead: told when asked, and logged, as read."""
        for item in items:
            self.ranks.tell(f"{self.title}: reads {name(item)}")
            events.info("reads %s", name(item))
            yield item

    def each(self, items: Iterable[T], name: Callable[[T], str]) -> Iterator[T]:
        """The items, of which each is done before the next is taken: the one at hand is told when
        asked, and goes to the log with what was made."""
        for item in items:
            images, failed, began = self._own, self._own_failed, time.monotonic()
            self.ranks.tell(f"{self.title}: {name(item)}")
            yield item
            if made := self._own - images:
                seconds, bad = time.monotonic() - began, self._own_failed - failed
                shown = f", {bad} failed" if bad else ""
                events.info("%s: %d images in %.1f s%s", name(item), made, seconds, shown)

    def add(self, images: int, failed: int = 0) -> int:
        """Count `images` more as done on this rank, of which some `failed`; the number done on all
        ranks."""
        self._own += images
        self._own_failed += failed
        if images:
            self.ranks.add(self._name, images)
        if failed:
            self.ranks.add(f"{self._name}/failed", failed)
        status = self.status()
        if images and self._first is None:
            self._first = (status.done, time.monotonic())
        if self.ranks.rank == 0:
            self._show(status)
        return status.done

    def status(self, told: bool = False) -> Status:
        """How far the work is on all ranks; if `told`, with what each of them does."""
        alone = self.ranks.world == 1
        done = self._own if alone else self.ranks.add(self._name, 0)
        failed = self._own_failed if alone else self.ranks.add(f"{self._name}/failed", 0)
        now, speed = time.monotonic(), None
        if self._first and done > self._first[0] and now > self._first[1]:
            speed = (done - self._first[0]) / (now - self._first[1])
        doing = tuple(self.ranks.told()) if told else ()
        return Status(self.title, done, self.total, failed, now - self._began, speed, doing)

    def _show(self, status: Status) -> None:
        shown = [speed_in_words(status.rate)] if status.done and status.seconds else []
        shown += [f"{status.failed} failed"] if status.failed else []
        shown += [f"about {in_words(status.left)} left"] if status.left else []
        self._bar.update(self._task, completed=status.done, rate=", ".join(shown))
        now = time.monotonic()
        if self._lines and status.done < status.total and now - self._printed > self._wait(status):
            self._printed = now
            say(str(status))
        if now - self._noted > _NOTE:
            self._noted = now
            self._tracker.progress(status)

    def _wait(self, status: Status) -> float:
        """Seconds between lines; a long time left is told as soon as it is known."""
        soon = not self._corrected and (status.left or 0.0) > _LINE
        self._corrected |= soon
        return 0.0 if soon else _LINE

    def _answer(self) -> str:
        """The status; of processes that are asked at once, as by a scheduler, one has it."""
        moment = f"{self._name}/{time.time() // 2:.0f}"
        return self.status(told=True).whole() if self.ranks.first(moment) else ""

    def _tell_parent(self) -> None:
        """Leave the status for the process that started this one and its others, if one did."""
        if path := os.environ.get(FILE):
            with suppress(OSError):  # no room, or the parent is gone: the work goes on
                self.status(told=True).write(path)
