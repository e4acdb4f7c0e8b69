"""Batches that fit into a GPU's memory, on a memory that is made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import pytest
import torch

from harness.runs.batch_size import found, images_at_once
from harness.runs.folder import Settings
from harness.runs.loaded import open_models
from harness.runs.plan import PlannedRun, plan

T = TypeVar("T")


@dataclass
class Card:
    """A memory of `room` bytes, of which a batch needs `base` and `each` for an image."""

    room: int
    base: int
    each: int
    now: int = 0
    tried: list[int] = field(default_factory=list)

    def free(self) -> int:
        return self.room

    def evaluate(self, count: int) -> None:
        self.tried.append(count)
        self.now = self.base + self.each * count
        if self.now > self.room:
            raise torch.OutOfMemoryError

    def needed(self, work: Callable[[], T]) -> tuple[T, int]:
        return work(), self.now


def _job(side: int) -> PlannedRun:
    job = plan("shapes", "ddim(steps=2)")
    return replace(job, spec=replace(job.spec, size=(side, side)))


@pytest.mark.parametrize(
    ("card", "side", "size"),
    [
        (Card(1000, 100, 10), 512, 32),  # 70 would fit, of which no more than 32 are faster
        (Card(1000, 100, 10), 1024, 8),
        (Card(1000, 100, 10), 64, 64),
        (Card(1000, 100, 10), 2048, 2),
        (Card(1000, 100, 10), 4096, 1),
        (Card(1000, 100, 100), 512, 4),  # 0.8 of the memory holds 7
        (Card(1000, 400, 100), 512, 4),
        (Card(1000, 401, 100), 512, 2),
        (Card(1000, 800, 150), 512, 1),  # two do not fit
        (Card(1000, 2000, 1), 512, 1),
        (Card(1000, 0, 0), 512, 32),
    ],
)
def test_the_largest_power_of_two_that_fits_and_is_of_use(card: Card, side: int, size: int) -> None:
    assert found(card, card.evaluate, _job(side)) == size
    assert card.tried in ([1], [1, 2])


def test_elsewhere_it_is_the_models_own_and_a_number_is_as_asked() -> None:
    job = plan("shapes", "ddim(steps=2)")
    models = open_models(job, "cpu")
    sizes = [images_at_once(models, job, Settings(batch_size=n), "") for n in (None, 3)]
    assert sizes == [job.entry.batch_size, 3]
