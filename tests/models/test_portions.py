"""How many pictures a decoder is given at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
import torch

from harness.models.portions import Portions

T = TypeVar("T")


class FakeMemory:
    def __init__(self, room: int) -> None:
        self.room = room

    def free(self) -> int:
        return self.room

    def needed(self, work: Callable[[], T]) -> tuple[T, int]:
        return work(), 10


def sizes(portions: Portions, count: int) -> list[int]:
    seen: list[int] = []

    def decode(part: torch.Tensor) -> torch.Tensor:
        seen.append(len(part))
        return part + 1

    latents = torch.arange(count * 4.0).reshape(count, 1, 2, 2)
    assert torch.equal(portions.decoded(decode, latents, 3), latents + 1)
    return seen


def test_without_known_memory_portions_are_as_usual() -> None:
    assert sizes(Portions(None), 8) == [3, 3, 2]
    assert sizes(Portions.on(torch.device("cpu")), 2) == [2]


@pytest.mark.parametrize(
    ("room", "expected"), [(1000, [8]), (100, [4, 4]), (60, [3, 3, 2]), (5, [1] * 8)]
)
def test_portions_take_half_of_the_free_memory_and_are_equal(
    room: int, expected: list[int]
) -> None:
    portions = Portions(FakeMemory(room))
    assert sizes(portions, 1) == [1]
    assert sizes(portions, 8) == expected


def test_the_size_is_decided_once() -> None:
    memory = FakeMemory(60)
    portions = Portions(memory)
    assert sizes(portions, 4) == [1, 3]
    memory.room = 1000
    assert sizes(portions, 6) == [3, 3]
