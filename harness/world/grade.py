"""How much of a caption a picture meets, given what was seen in it. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.world.grammar import Demand
from harness.world.scenes import SIZE_LIMIT, Scene, placed, related

PLACE_SLACK = 4.0
LEAST_OFFSET = 8.0


@dataclass(frozen=True)
class Seen:
    """An object that was found in a picture; centre and radius in pixels of the 64x64 picture."""

    colour: str
    shape: str
    x: float
    y: float
    radius: float

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


def _met(demand: Demand, objects: Sequence[Seen], background: str) -> bool:
    mine = [seen for seen in objects if seen.name == demand.subject]
    if demand.kind == "exists":
        return bool(mine)
    if demand.kind == "count":
        return len(mine) == demand.value
    if demand.kind == "size":
        small = demand.value == "small"
        return bool(mine) and all((seen.radius < SIZE_LIMIT) == small for seen in mine)
    if demand.kind == "place":
        place = str(demand.value)
        return bool(mine) and all(placed(seen.x, seen.y, place, PLACE_SLACK) for seen in mine)
    if demand.kind == "relation":
        others = [seen for seen in objects if seen.name == demand.other]
        return any(
            related(a.x - b.x, a.y - b.y, str(demand.value), LEAST_OFFSET, 1.0)
            for a in mine
            for b in others
        )
    if demand.kind == "background":
        return background == demand.value
    if demand.kind == "total":
        return len(objects) == demand.value
    raise ValueError(f"unknown demand {demand.kind!r}")


def grade(
    objects: Sequence[Seen], background: str, demands: Sequence[Demand]
) -> tuple[float, bool]:
    """The share of a caption's demands that are met, in [0, 1], and whether all are."""
    met = [_met(demand, objects, background) for demand in demands]
    return sum(met) / len(met), all(met)


def seen_in(scene: Scene) -> list[Seen]:
    """What a perfect judge sees in a scene."""
    return [Seen(o.colour, o.shape, o.x, o.y, o.radius) for o in scene.objects]
