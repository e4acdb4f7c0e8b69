"""Finishes batches behind the device: which pictures failed, and their PNG, in threads."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType

import torch

from harness.core.cores import picture_threads
from harness.engine.batch import Evaluations
from harness.store.rows import Guidance

_HELD = 2
"""Batches of which pictures are held."""

_RUNS = 3
"""zlib's strategy Z_RLE, see `as_png`."""


@dataclass
class Made:
    """A batch as it is stored: pictures of `size` (height, width), or the reason why there is none.

    `pngs` are their files, on the way.
    """

    pngs: list[Future[bytes] | None]
    size: tuple[int, int]
    failed: list[str | None]
    evaluations: Evaluations
    classes: list[int] | None
    guidance: Guidance | None
    seconds: float


class Finisher:
    """Finishes batches in order; `progress` is called, by the caller's thread, with the numbers of
    images finished and of those that failed.

    One thread waits for the device, and a few encode, as many as the process has cores.
    """

    def __init__(self, progress: Callable[[int, int], object], threads: int) -> None:
        self._progress = progress
        self._reader = ThreadPoolExecutor(1, "reader", torch.set_num_threads, (threads,))
        self._encoders = ThreadPoolExecutor(picture_threads(), "png")
        self._held: deque[Future[Made]] = deque()
        self._uncounted: deque[Future[Made]] = deque()

    def __enter__(self) -> Finisher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pool in (self._reader, self._encoders):
            pool.shutdown(cancel_futures=kind is not None)

    def add(self, finish: Callable[[], Made], *, later: bool) -> Future[Made]:
        """Finish a batch: `later`, when the device is done with it, or now."""
        if later:
            future = self._reader.submit(finish)
        else:
            future = Future()
            future.set_result(finish())
        self._held.append(future)
        self._uncounted.append(future)
        self._count()
        return future

    def encode(self, pixels: torch.Tensor, failed: list[str | None]) -> list[Future[bytes] | None]:
        """The PNGs, on the way, of pictures uint8 [B, 3, H, W] on the CPU that did not fail."""
        return [
            None if reason else self._encoders.submit(as_png, picture)
            for picture, reason in zip(pixels, failed, strict=True)
        ]

    def make_room(self) -> None:
        """Wait, before one more batch begins, until the pictures of one batch at most are held."""
        while len(self._held) >= _HELD:
            made = self._held.popleft().result()
            wait([png for png in made.pngs if png])
        self._count()

    def settle(self) -> bool:
        """Wait until the device is done with every batch; whether there was anything to wait for.

        Raises what went wrong with one of them.
        """
        waited = any(not future.done() for future in self._held)
        for future in self._held:
            future.result()
        self._count()
        return waited

    def _count(self) -> None:
        """Tell of those that are finished."""
        while self._uncounted and self._uncounted[0].done():
            failed = self._uncounted.popleft().result().failed
            self._progress(len(failed), len(failed) - failed.count(None))


def as_png(picture: torch.Tensor) -> bytes:
    """The PNG of a picture uint8 [3, H, W].

    Its bytes are compressed by runs alone (zlib's Z_RLE, with PNG's own filters), which takes a
    third to two thirds of the processor's time of Pillow's default, for files of the same size.
    Of 32 pictures of the embedded model, of 3 of 512x512 pixels with the spectrum and grain of
    photographs, and of one of noise, measured: kB and ms a picture

        default, level 6     3.4  0.69     634  33.0     788  29.4
        level 1              4.2  0.26     646  29.7     787  28.5
        level 9              3.3  3.88     634  33.1     788  33.0
        runs                 3.4  0.24     634  20.0     788  21.7
    """
    from PIL import Image

    buffer = io.BytesIO()
    rows = picture.permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(rows).save(buffer, "PNG", compress_type=_RUNS)
    return buffer.getvalue()
