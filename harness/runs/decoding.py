"""Decodes batches; on a GPU while the next one is sampled, on a stream of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from harness.engine.batch import Batch
from harness.models.base import Model


class Mark(Protocol):
    """A place in a device's work, as CUDA's events are."""

    def synchronize(self) -> None:
        """Wait until the device is there."""

    def elapsed_time(self, later: Any) -> float:
        """Milliseconds from here to a `later` mark, after both were reached."""


class Lane(Protocol):
    """Where decoders compute; `apart` where sampling goes on at the same time."""

    apart: bool

    def mark(self) -> Mark:
        """A mark behind all that was queued so far where it is made: inside `aside` or outside."""

    def aside(self) -> Any:
        """A context: what is queued inside it follows what was queued before. What is queued after
        it does not wait for it."""

    def fetch(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor on the CPU, where it is whole when a later mark is reached."""


class _Moment:
    """A moment of the host's clock."""

    def __init__(self) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, later: _Moment) -> float:
        return (later.at - self.at) * 1000


class HostLane:
    """Everything in order, each step done before the next one begins."""

    apart = False

    def mark(self) -> Mark:
        return _Moment()

    @contextmanager
    def aside(self) -> Iterator[None]:
        yield

    def fetch(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.cpu()


class CudaLane:
    """A stream of its own beside the current one."""

    apart = True

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)

    def mark(self) -> Mark:
        event = torch.cuda.Event(enable_timing=True, blocking=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    @contextmanager
    def aside(self) -> Iterator[None]:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            yield

    def fetch(self, tensor: torch.Tensor) -> torch.Tensor:
        """Into pinned memory. The tensor may be forgotten at once: its memory is not used anew
        before it was read."""
        if tensor.device.type == "cpu":
            return tensor
        tensor.record_stream(torch.cuda.current_stream(self._device))
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)


def lane_of(model: Model) -> Lane:
    """A stream on a GPU, for a model that `decodes_apart`; else everything is in order."""
    if model.device.type == "cuda" and getattr(model, "decodes_apart", False):
        return CudaLane(model.device)
    return HostLane()


@dataclass
class Pending:
    """A batch under way to the CPU: pictures uint8 [B, 3, H, W], whether its latents are `finite`
    [B], its classes [B], and its guidance in `batch.applied`. To be read after `wait`.

    `batch` keeps what the decoder reads. For `paused` seconds of it the host compiled.
    """

    batch: Batch
    pixels: torch.Tensor
    finite: torch.Tensor
    labels: torch.Tensor | None
    marks: tuple[Mark, Mark, Mark | None]
    paused: float

    def wait(self) -> None:
        """Until the device is done with it."""
        self.marks[1].synchronize()

    @property
    def seconds(self) -> float:
        """What the batch added to the device's time; times of batches sum up to that of all.

        From the start of its sampling to its pictures, or where those of the batch before were
        ready later, from then: time in which both were computed is counted once. On a GPU by its
        own clock, else by the host's.
        """
        began, ended, before = self.marks
        since = [began] if before is None or self.paused else [began, before]
        return min(mark.elapsed_time(ended) for mark in since) / 1000 - self.paused


class Decoding:
    """Decodes the batches of a model in order."""

    def __init__(self, model: Model, lane: Lane | None = None) -> None:
        self._model, self._lane = model, lane or lane_of(model)
        self._last: Mark | None = None

    @property
    def apart(self) -> bool:
        """Whether the next batch is sampled meanwhile."""
        return self._lane.apart

    def in_order(self) -> None:
        """From now on the next batch begins when the pictures of the one before are there."""
        self._lane, self._last = HostLane(), None

    def begin(self) -> Mark:
        """The start of a batch's sampling."""
        return self._lane.mark()

    @torch.inference_mode()
    def start(self, batch: Batch, began: Mark, paused: float = 0.0) -> Pending:
        """Decode a batch; for `paused` seconds since it began, something else was done.

        Raises torch.cuda.OutOfMemoryError when memory is asked for: at once.
        """
        lane = self._lane
        finite = batch.native.flatten(1).isfinite().all(1)
        recorded = [] if batch.applied is None else batch.applied.gathered()
        with lane.aside():
            native = batch.native
            pixels = lane.fetch(
                self._model.decode(native) if batch.pixels is None else batch.pixels
            )
            finite = lane.fetch(finite)
            labels = lane.fetch(torch.as_tensor(batch.labels)) if batch.labels is not None else None
            recorded = [lane.fetch(one) for one in recorded]
            ended = lane.mark()
        if batch.applied is not None:
            batch.applied.replace(recorded)
        marks = began, ended, self._last
        self._last = ended
        return Pending(batch, pixels, finite, labels, marks, paused)
