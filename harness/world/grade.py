"""Alignment of a picture's detected objects with its caption's demands. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.world.grammar import Demand
from harness.world.scenes import SIZE_LIMIT, placed, related

PLACE_SLACK = 4.0
LEAST_OFFSET = 8.0


@dataclass(frozen=True)
class Seen:
    """A detected object of a picture; centre and radius in pixels of the 64x64 picture."""

    colour: str
    shape: str
    x: float
    y: float
    radius: float

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


def _met(demand: Demand, objects: Sequence[Seen], background: str) -> bool:
    subjects = [seen for seen in objects if seen.name == demand.subject]
    value = demand.value
    match demand.kind:
        case "exists":
            return bool(subjects)
        case "count":
            return len(subjects) == value
        case "size":
            is_small = [seen.radius < SIZE_LIMIT for seen in subjects]
            return bool(subjects) and all(small == (value == "small") for small in is_small)
        case "place":
            at_place = [placed(seen.x, seen.y, str(value), PLACE_SLACK) for seen in subjects]
            return bool(subjects) and all(at_place)
        case "relation":
            others = [seen for seen in objects if seen.name == demand.other]
            offsets = [(a.x - b.x, a.y - b.y) for a in subjects for b in others]
            return any(related(*offset, str(value), LEAST_OFFSET, 1.0) for offset in offsets)
        case "background":
            return background == value
        case "total":
            return len(objects) == value
    raise ValueError(f"unknown demand {demand.kind!r}")


def grade(
    objects: Sequence[Seen], background: str, demands: Sequence[Demand]
) -> tuple[float, bool]:
    """The share of a caption's demands that are met, in [0, 1], and whether all are."""
    met = [_met(demand, objects, background) for demand in demands]
    return sum(met) / len(met), all(met)
