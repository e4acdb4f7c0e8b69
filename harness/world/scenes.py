"""Random scenes of coloured shapes that meet their captions, for benchmarks and for training.

Numpy only. Coordinates and lengths are pixels of a 64x64 picture, x to the right, y downwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.world.grammar import (
    BACKGROUNDS,
    CATEGORIES,
    COLOURS,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    Group,
    Spec,
    held_out,
    read,
    write,
)

SIZE = 64
SIZE_LIMIT = 10.25
"""Radius in pixels below which an object is small, else large."""

REACH = {"circle": 1.0, "square": 1.25, "triangle": 1.2, "star": 1.25, "ring": 1.05, "cross": 1.15}
"""The farthest point of a shape from its centre, in radii."""

SOFT = ((228, 220, 198), (190, 205, 222), (190, 210, 190), (226, 204, 204), (206, 198, 226))
"""Pale tints for captions that name no background; a scene calls them "soft"."""


@dataclass(frozen=True)
class SceneObject:
    """One shape in a picture; `angle` in radians, `rgb` 0-255."""

    colour: str
    shape: str
    x: float
    y: float
    radius: float
    angle: float
    rgb: tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """A picture to draw: a background of one colour (`background` is its name) and objects."""

    objects: tuple[SceneObject, ...]
    background: str
    rgb: tuple[float, float, float]


def _radius_range(total: int, size: str | None) -> tuple[float, float]:
    if size == "small":
        return 6.5, 8.25
    if size == "large":
        return (12.25, 15.0) if total == 1 else (12.25, 13.5)
    return {1: (7.0, 14.0), 2: (7.0, 12.0), 3: (6.5, 10.5)}.get(total, (6.5, 9.5))


def placed(x: float, y: float, place: str, slack: float = 0.0) -> bool:
    """Whether a centre is at a place; `slack` pixels more are allowed when a picture is judged."""
    third = 21.0 + slack
    return {
        "top": y <= third,
        "bottom": y >= SIZE - third,
        "left": x <= third,
        "right": x >= SIZE - third,
        "middle": max(abs(x - SIZE / 2), abs(y - SIZE / 2)) <= 5.0 + slack,
    }[place]


def related(dx: float, dy: float, relation: str, least: float = 16.0, slope: float = 0.6) -> bool:
    """Whether a centre at offset (dx, dy) from the other object stands in a relation to it.

    It must be `least` pixels away along the relation's axis, and off it by `slope` of that at most.
    """
    along, across = (dx, dy) if relation in ("left", "right") else (dy, dx)
    along = -along if relation in ("left", "above") else along
    return along >= least and abs(across) <= slope * along


def _jitter(
    rng: np.random.Generator, rgb: tuple[int, int, int], width: float
) -> tuple[float, float, float]:
    r, g, b = np.clip(np.asarray(rgb) + rng.uniform(-width, width, 3), 0, 255)
    return float(r), float(g), float(b)


def _objects(spec: Spec, rng: np.random.Generator) -> tuple[SceneObject, ...] | None:
    """One try to place the objects of a spec without overlap; None where it fails."""
    total = sum(group.count for group in spec.groups)
    placed_so_far: list[SceneObject] = []
    for group in spec.groups:
        low, high = _radius_range(total, group.size)
        base = rng.uniform(low, high)
        tint = _jitter(rng, COLOURS[group.colour], 6.0)
        for _ in range(group.count):
            radius = float(np.clip(base * rng.uniform(0.93, 1.07), low, high))
            reach = radius * REACH[group.shape]
            x, y = (float(v) for v in rng.uniform(reach + 1.0, SIZE - reach - 1.0, 2))
            angle = 0.0 if group.shape in ("circle", "ring") else float(rng.uniform(-0.22, 0.22))
            for other in placed_so_far:
                gap = reach + other.radius * REACH[other.shape] + 2.0
                if (x - other.x) ** 2 + (y - other.y) ** 2 < gap**2:
                    return None
            if spec.place and not placed(x, y, spec.place):
                return None
            placed_so_far.append(SceneObject(group.colour, group.shape, x, y, radius, angle, tint))
    if spec.relation:
        first, second = placed_so_far
        if not related(first.x - second.x, first.y - second.y, spec.relation):
            return None
    return tuple(placed_so_far)


def compose(spec: Spec, rng: np.random.Generator) -> Scene:
    """A random scene that meets every demand of a spec."""
    objects = None
    while objects is None:
        objects = _objects(spec, rng)
    name = spec.background
    if name is None:
        named = tuple(BACKGROUNDS)
        name = named[rng.integers(len(named))] if rng.random() < 0.4 else "soft"
    base = SOFT[rng.integers(len(SOFT))] if name == "soft" else BACKGROUNDS[name]
    return Scene(objects, name, _jitter(rng, base, 4.0))


_SHARES = {"single": 0.14, "attribution": 0.26, "counting": 0.22, "position": 0.26}


def _random_spec(rng: np.random.Generator, category: str) -> Spec:
    """A spec of a category: colours, shapes and counts uniform, size and place sometimes given."""

    def pair() -> tuple[str, str]:
        return tuple(COLOURS)[rng.integers(len(COLOURS))], SHAPES[rng.integers(len(SHAPES))]

    size = (None, None, *SIZES)[rng.integers(4)]
    match category:
        case "single":
            places = tuple(PLACES.values())
            place = places[rng.integers(len(places))] if rng.random() < 0.6 else None
            return Spec(category, (Group(*pair(), 1, size),), place=place)
        case "counting":
            count = int(rng.integers(2, 5))
            size = None if size == "large" and count > 2 else size
            return Spec(category, (Group(*pair(), count, size),))
        case "background":
            background = tuple(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))]
            return Spec(category, (Group(*pair(), 1, size),), background=background)
    first, second = pair(), pair()
    while second == first:
        second = pair()
    relation = tuple(RELATIONS.values())[rng.integers(4)] if category == "position" else None
    return Spec(category, (Group(*first), Group(*second)), relation=relation)


def training_spec(rng: np.random.Generator) -> Spec:
    """A random spec without held-out combinations."""
    draw, category = rng.random(), "background"
    for name, share in _SHARES.items():
        if draw < share:
            category = name
            break
        draw -= share
    spec = _random_spec(rng, category)
    while held_out(spec):
        spec = _random_spec(rng, category)
    return spec


def training_scene(rng: np.random.Generator) -> tuple[Scene, str]:
    """A random scene without held-out combinations, and its caption."""
    spec = training_spec(rng)
    return compose(spec, rng), write(spec)


def any_scene(rng: np.random.Generator) -> tuple[Scene, str]:
    """A random scene and caption of any kind, held out or not; categories in equal shares."""
    spec = _random_spec(rng, CATEGORIES[rng.integers(len(CATEGORIES))])
    return compose(spec, rng), write(spec)


def scene(caption: str, rng: np.random.Generator) -> Scene:
    """A random scene that a caption describes."""
    return compose(read(caption), rng)
