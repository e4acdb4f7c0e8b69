"""The world of coloured shapes: captions, their meaning, and scenes that fulfil them.

A caption is written from a `Spec` and read back into the same `Spec`; a `Spec` states `Demand`s
that a picture can be checked against, and is composed into a `Scene` that meets all. Numpy only.

Held out of training are six colour-shape pairs (one for each shape) and a tenth of the counts of
the other pairs: `training_scene` never shows them, every benchmark prompt contains one.
Coordinates and lengths are pixels of a 64x64 picture, x to the right, y downwards.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

SIZE = 64

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 30, 35),
    "green": (25, 160, 60),
    "blue": (35, 80, 225),
    "yellow": (250, 215, 30),
    "purple": (130, 45, 185),
    "orange": (250, 130, 20),
    "pink": (255, 120, 185),
    "cyan": (30, 205, 225),
}
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
REACH = {"circle": 1.0, "square": 1.25, "triangle": 1.2, "star": 1.25, "ring": 1.05, "cross": 1.15}
"""The farthest point of a shape from its centre, in radii."""

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "black": (10, 10, 12),
    "white": (247, 247, 247),
    "gray": (128, 128, 128),
    "brown": (105, 65, 35),
}
SOFT = ((228, 220, 198), (190, 205, 222), (190, 210, 190), (226, 204, 204), (206, 198, 226))
"""Pale tints for captions that name no background; a scene calls them "soft"."""

NUMBERS = {"two": 2, "three": 3, "four": 4}
SIZES = ("small", "large")
SIZE_LIMIT = 10.25
"""Radius in pixels that parts small from large."""
PLACES = {
    "at the top": "top",
    "at the bottom": "bottom",
    "on the left": "left",
    "on the right": "right",
    "in the middle": "middle",
}
RELATIONS = {
    "to the left of": "left",
    "to the right of": "right",
    "above": "above",
    "below": "below",
}
CATEGORIES = ("single", "attribution", "counting", "position", "background")

HELD_OUT_PAIRS = frozenset(
    {
        ("yellow", "circle"),
        ("purple", "square"),
        ("orange", "triangle"),
        ("green", "star"),
        ("blue", "ring"),
        ("red", "cross"),
    }
)
HELD_OUT_COUNTS = frozenset(
    (count, colour, shape)
    for i, colour in enumerate(COLOURS)
    for j, shape in enumerate(SHAPES)
    for count in NUMBERS.values()
    if (3 * i + 5 * j + count) % 10 == 0 and (colour, shape) not in HELD_OUT_PAIRS
)


@dataclass(frozen=True)
class Group:
    """`count` like objects; `size` is small, large or None for any."""

    colour: str
    shape: str
    count: int = 1
    size: str | None = None

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Spec:
    """What a caption says. `relation` is that of the first group to the second."""

    category: str
    groups: tuple[Group, ...]
    relation: str | None = None
    place: str | None = None
    background: str | None = None


@dataclass(frozen=True)
class Demand:
    """One fact to check in a picture.

    kind        subject         value               other
    exists      "red circle"
    count       "red circle"    2, 3 or 4
    size        "red circle"    "small" | "large"
    place       "red circle"    a value of PLACES
    relation    "red circle"    a value of RELATIONS  "blue square"
    background  ""              a key of BACKGROUNDS
    total       ""              objects in the picture, no more and no fewer
    """

    kind: str
    subject: str = ""
    value: str | int | None = None
    other: str = ""


@dataclass(frozen=True)
class Object:
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

    objects: tuple[Object, ...]
    background: str
    rgb: tuple[float, float, float]


# Captions


def _phrase(group: Group) -> str:
    words = [w for w in (group.size, group.colour, group.shape) if w]
    if group.count > 1:
        number = next(word for word, n in NUMBERS.items() if n == group.count)
        return " ".join([number, *words]) + ("es" if group.shape == "cross" else "s")
    return " ".join(["an" if words[0][0] in "aeiou" else "a", *words])


def write(spec: Spec) -> str:
    """The one caption of a spec."""
    first = _phrase(spec.groups[0])
    if spec.category == "attribution":
        return f"{first} and {_phrase(spec.groups[1])}"
    if spec.category == "position":
        words = next(words for words, value in RELATIONS.items() if value == spec.relation)
        return f"{first} {words} {_phrase(spec.groups[1])}"
    if spec.category == "background":
        return f"{first} on a {spec.background} background"
    if spec.place is not None:
        return f"{first} " + next(w for w, value in PLACES.items() if value == spec.place)
    return first


_GROUP = re.compile(
    rf"(an?|{'|'.join(NUMBERS)})"
    rf"(?: ({'|'.join(SIZES)}))? ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})(s|es)?"
)


def _read_group(words: str) -> Group:
    found = _GROUP.fullmatch(words)
    if found is None:
        raise ValueError(f"not an object of the shapes world: {words!r}")
    number, size, colour, shape, _ = found.groups()
    return Group(colour, shape, NUMBERS.get(number, 1), size)


def _read(caption: str) -> Spec:
    background = re.fullmatch(rf"(.*) on a ({'|'.join(BACKGROUNDS)}) background", caption)
    if background:
        return Spec("background", (_read_group(background[1]),), background=background[2])
    if " and " in caption:
        left, right = caption.split(" and ", 1)
        return Spec("attribution", (_read_group(left), _read_group(right)))
    for words, relation in RELATIONS.items():
        if f" {words} " in caption:
            left, right = caption.split(f" {words} ", 1)
            return Spec("position", (_read_group(left), _read_group(right)), relation=relation)
    for words, place in PLACES.items():
        if caption.endswith(f" {words}"):
            group = _read_group(caption.removesuffix(f" {words}"))
            return Spec("single", (group,), place=place)
    group = _read_group(caption)
    return Spec("single" if group.count == 1 else "counting", (group,))


def read(caption: str) -> Spec:
    """The spec whose caption this is; ValueError for a caption outside of the grammar."""
    spec = _read(caption)
    if not _allowed(spec) or write(spec) != caption:
        raise ValueError(f"not a caption of the shapes world: {caption!r}")
    return spec


def _allowed(spec: Spec) -> bool:
    """Whether the grammar has this spec."""
    if spec.category == "counting":
        (group,) = spec.groups
        return group.size != "large" or group.count == 2
    if spec.category in ("attribution", "position"):
        first, second = spec.groups
        plain = all(g.count == 1 and g.size is None for g in spec.groups)
        return plain and first.name != second.name
    return spec.groups[0].count == 1


def specs(category: str) -> Iterator[Spec]:
    """Every spec of a category, in a fixed order."""
    pairs = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    for pair in pairs:
        if category == "single":
            for size in (None, *SIZES):
                for place in (None, *PLACES.values()):
                    yield Spec("single", (Group(*pair, 1, size),), place=place)
        elif category == "counting":
            for count in NUMBERS.values():
                for size in (None, *SIZES):
                    if size != "large" or count == 2:
                        yield Spec("counting", (Group(*pair, count, size),))
        elif category == "background":
            for size in (None, *SIZES):
                for background in BACKGROUNDS:
                    group = Group(*pair, 1, size)
                    yield Spec("background", (group,), background=background)
        else:
            for other in pairs:
                if other == pair:
                    continue
                groups = (Group(*pair), Group(*other))
                if category == "attribution":
                    yield Spec("attribution", groups)
                else:
                    for relation in RELATIONS.values():
                        yield Spec("position", groups, relation=relation)


def held_out(spec: Spec) -> bool:
    """Whether a spec contains a combination that training never shows."""
    return any(
        (g.colour, g.shape) in HELD_OUT_PAIRS or (g.count, g.colour, g.shape) in HELD_OUT_COUNTS
        for g in spec.groups
    )


def captions(held: bool) -> list[str]:
    """All captions held out of training, or all others, in a fixed order."""
    return [write(s) for c in CATEGORIES for s in specs(c) if held_out(s) == held]


def demands(spec: Spec) -> list[Demand]:
    """The facts that a picture of this spec must show; no objects beside the named ones."""
    facts: list[Demand] = []
    for group in spec.groups:
        if group.count == 1:
            facts.append(Demand("exists", group.name))
        else:
            facts.append(Demand("count", group.name, group.count))
        if group.size:
            facts.append(Demand("size", group.name, group.size))
    first = spec.groups[0].name
    if spec.place:
        facts.append(Demand("place", first, spec.place))
    if spec.relation:
        facts.append(Demand("relation", first, spec.relation, spec.groups[1].name))
    if spec.background:
        facts.append(Demand("background", "", spec.background))
    facts.append(Demand("total", "", sum(group.count for group in spec.groups)))
    return facts


def parse(caption: str) -> list[Demand]:
    """What a caption demands of its picture; ValueError outside of the grammar."""
    return demands(read(caption))


# Scenes


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


def _objects(spec: Spec, rng: np.random.Generator) -> tuple[Object, ...] | None:
    """One try to place the objects of a spec without overlap; None where it fails."""
    total = sum(group.count for group in spec.groups)
    placed_so_far: list[Object] = []
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
            placed_so_far.append(Object(group.colour, group.shape, x, y, radius, angle, tint))
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
    if category == "single":
        places = tuple(PLACES.values())
        place = places[rng.integers(len(places))] if rng.random() < 0.6 else None
        return Spec(category, (Group(*pair(), 1, size),), place=place)
    if category == "counting":
        count = int(rng.integers(2, 5))
        size = None if size == "large" and count > 2 else size
        return Spec(category, (Group(*pair(), count, size),))
    if category == "background":
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


def held_out_captions(category: str) -> list[str]:
    """All held-out captions of a category in the fixed shuffled order of the benchmark."""
    texts = (write(spec) for spec in specs(category) if held_out(spec))
    return sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())


def benchmark_prompts() -> list[dict[str, Any]]:
    """The fixed 320 held-out prompts, categories in turn, so that every prefix is balanced."""
    each = {category: held_out_captions(category)[:64] for category in CATEGORIES}
    rows: list[dict[str, Any]] = []
    for i in range(64):
        for category in CATEGORIES:
            text = each[category][i]
            names = [group.name for group in read(text).groups]
            rows.append(
                {
                    "id": f"shapes-{len(rows):04d}",
                    "text": text,
                    "category": category,
                    "notes": {"objects": names},
                }
            )
    return rows
