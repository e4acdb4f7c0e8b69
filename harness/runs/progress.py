"""A progress bar over all ranks, on the first rank's terminal."""

from __future__ import annotations

import time
from types import TracebackType

from harness.runs.ranks import Ranks


class Progress:
    """Counts images over all ranks; only rank 0 shows the bar, with images/s and the time left.

    Where standard error is no terminal, a line is printed every half minute instead.
    """

    def __init__(self, ranks: Ranks, title: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.ranks, self.title, self.total = ranks, title, total
        self._name = ranks.name(title)
        self._own = 0
        self._began = self._printed = time.monotonic()
        console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            disable=ranks.rank != 0 or not console.is_terminal,
        )
        self._lines = ranks.rank == 0 and not console.is_terminal
        self._task = self._bar.add_task(title, total=total, rate="")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.ranks.barrier(self._name, lambda: self.add(0))
            self.add(0)
            if self.ranks.rank == 0 and not self.total:
                self._bar.console.print(f"{self.title}: nothing to do", markup=False)
            elif self._lines:
                self._print(self._count(0))
        self._bar.stop()

    def add(self, images: int) -> int:
        """Count `images` more as done on this rank; the number done on all ranks."""
        done = self._count(images)
        elapsed = time.monotonic() - self._began
        rate = f"{done / elapsed:.1f} images/s" if done and elapsed > 0 else ""
        self._bar.update(self._task, completed=done, rate=rate)
        if self._lines and time.monotonic() - self._printed > 30:
            self._printed = time.monotonic()
            self._print(done)
        return done

    def _count(self, images: int) -> int:
        self._own += images
        shared = self.ranks.add(self._name, images)
        return self._own if self.ranks.world == 1 else shared

    def _print(self, done: int) -> None:
        elapsed = time.monotonic() - self._began
        rate = done / elapsed if elapsed > 0 else 0.0
        text = f"{self.title}: {done}/{self.total} in {elapsed:.0f} s, {rate:.1f} images/s"
        self._bar.console.print(text, markup=False, highlight=False)
