"""Batches of pictures from image shards, prefetched in threads so that the network does not wait.

A shard is cut into batches of pictures of one size by the headers of its files alone, so that the
cut, and with it the last bits of a score, depends on nothing else. Few batches are held at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from numpy.typing import NDArray

from harness.core.cores import picture_threads
from harness.store.pictures import Broken, decode, measure
from harness.store.scores import ImageRow

T = TypeVar("T")
R = TypeVar("R")

_SHARDS_AHEAD = 1
_BATCHES_AHEAD = 2

_File: TypeAlias = tuple[tuple[int, int], bytes]
"""A picture's size (height, width) and the bytes of its file."""


@dataclass(frozen=True)
class PictureBatch(Generic[T]):
    """Pictures of one size (height, width), uint8 [3, H, W], with their places in a shard.

    `shard` is as asked for, with its `rows`; what cannot be decoded is Broken. Places without a
    batch are in `broken`; a shard without a single picture is one empty batch.
    """

    shard: T
    rows: list[ImageRow]
    broken: dict[int, Broken]
    size: tuple[int, int]
    places: tuple[int, ...]
    pictures: list[NDArray[Any] | Broken]


def batches(
    shards: Iterable[T], rows_of: Callable[[T], list[ImageRow]], batch_size: int
) -> Generator[PictureBatch[T], None, None]:
    """The batches of one shard after the other; a shard is asked for a little before its turn."""
    with ThreadPoolExecutor(picture_threads()) as pool:
        opened = ahead(shards, lambda shard: [pool.submit(rows_of, shard)], _SHARDS_AHEAD)
        read = ahead(
            opened, lambda shard: [pool.submit(_read, row) for row in shard[1][0]], _SHARDS_AHEAD
        )
        decoded = ahead(
            (
                batch
                for (shard, (rows,)), files in read
                for batch in _cut(shard, rows, files, batch_size)
            ),
            lambda batch: [pool.submit(decode, data) for data in batch[1]],
            _BATCHES_AHEAD,
        )
        try:
            for (batch, _), pictures in decoded:
                batch.pictures.extend(pictures)
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


def ahead(
    items: Iterable[T], start: Callable[[T], Sequence[Future[R]]], depth: int
) -> Iterator[tuple[T, list[R]]]:
    """Every item with its futures' results, while those of `depth` further items are pending."""
    waiting: deque[tuple[T, Sequence[Future[R]]]] = deque()
    for item in items:
        waiting.append((item, start(item)))
        if len(waiting) > depth:
            done, futures = waiting.popleft()
            yield done, [future.result() for future in futures]
    while waiting:
        done, futures = waiting.popleft()
        yield done, [future.result() for future in futures]


def _read(row: ImageRow) -> _File | Broken:
    data = row.read()
    if isinstance(data, Broken):
        return data
    size = measure(data)
    return size if isinstance(size, Broken) else (size, data)


def _cut(
    shard: T, rows: list[ImageRow], files: Sequence[_File | Broken], batch_size: int
) -> Iterator[tuple[PictureBatch[T], list[bytes]]]:
    """Batches of one size each, in order, still without pictures, and the bytes of these."""
    broken = {at: file for at, file in enumerate(files) if isinstance(file, Broken)}
    by_size: dict[tuple[int, int], list[tuple[int, bytes]]] = {}
    for at, file in enumerate(files):
        if not isinstance(file, Broken):
            by_size.setdefault(file[0], []).append((at, file[1]))
    parts = [
        (size, held[at : at + batch_size])
        for size, held in by_size.items()
        for at in range(0, len(held), batch_size)
    ] or [((0, 0), [])]
    for size, part in parts:
        places = tuple(place for place, _ in part)
        yield PictureBatch(shard, rows, broken, size, places, []), [data for _, data in part]
