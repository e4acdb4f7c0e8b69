"""The caption grammar of the world of coloured shapes: writing, parsing and checkable demands.

A caption is written from a `Spec` and read back into the same `Spec`; a `Spec` states `Demand`s
that a picture can be checked against, and is composed into a scene that meets all: see scenes.py.

Held out of training are six colour-shape pairs (one for each shape) and a tenth of the counts of
the other pairs: no training caption contains one, every benchmark prompt does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "black": (10, 10, 12),
    "white": (247, 247, 247),
    "gray": (128, 128, 128),
    "brown": (105, 65, 35),
}

NUMBERS = {"two": 2, "three": 3, "four": 4}
SIZES = ("small", "large")
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
    """`count` objects of one colour and shape; `size` is "small", "large" or None for any."""

    colour: str
    shape: str
    count: int = 1
    size: str | None = None

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Spec:
    """The meaning of a caption. `relation` is that of the first group to the second."""

    category: str
    groups: tuple[Group, ...]
    relation: str | None = None
    place: str | None = None
    background: str | None = None


@dataclass(frozen=True)
class Demand:
    """One fact to check in a picture, by kind:

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


def _phrase(group: Group) -> str:
    words = [w for w in (group.size, group.colour, group.shape) if w]
    if group.count > 1:
        return " ".join([_word(NUMBERS, group.count), *words]) + (
            "es" if group.shape == "cross" else "s"
        )
    return " ".join(["an" if words[0][0] in "aeiou" else "a", *words])


def _word(words: Mapping[str, Any], value: Any) -> str:
    """The words of a value in captions."""
    return next(word for word, meaning in words.items() if meaning == value)


def write(spec: Spec) -> str:
    """The caption of a spec."""
    first, *others = map(_phrase, spec.groups)
    match spec.category:
        case "attribution":
            return f"{first} and {others[0]}"
        case "position":
            return f"{first} {_word(RELATIONS, spec.relation)} {others[0]}"
        case "background":
            return f"{first} on a {spec.background} background"
    return f"{first} {_word(PLACES, spec.place)}" if spec.place else first


_GROUP = re.compile(
    rf"(an?|{'|'.join(NUMBERS)})"
    rf"(?: ({'|'.join(SIZES)}))? ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})(s|es)?"
)


def _read_group(words: str) -> Group:
    match = _GROUP.fullmatch(words)
    if match is None:
        raise ValueError(f"not an object of the shapes world: {words!r}")
    number, size, colour, shape, _ = match.groups()
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
    """Parse a caption into its spec; ValueError for a caption outside of the grammar."""
    spec = _read(caption)
    if not _allowed(spec) or write(spec) != caption:
        raise ValueError(f"not a caption of the shapes world: {caption!r}")
    return spec


def _allowed(spec: Spec) -> bool:
    """Whether the grammar has a caption of this spec."""
    first, *others = spec.groups
    if spec.category == "counting":
        return first.size != "large" or first.count == 2
    plain = not others or all(g.count == 1 and g.size is None for g in spec.groups)
    return plain and first.count == 1 and first.name not in [other.name for other in others]


def specs(category: str) -> Iterator[Spec]:
    """Every spec of a category, in a fixed order."""
    pairs = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    sizes, places = (None, *SIZES), (None, *PLACES.values())
    relations = RELATIONS.values() if category == "position" else [None]
    for pair in pairs:
        singles = [Group(*pair, 1, size) for size in sizes]
        match category:
            case "single":
                yield from (Spec(category, (g,), place=place) for g in singles for place in places)
            case "counting":
                several = [Group(*pair, n, size) for n in NUMBERS.values() for size in sizes]
                yield from filter(_allowed, (Spec(category, (group,)) for group in several))
            case "background":
                yield from (
                    Spec(category, (g,), background=b) for g in singles for b in BACKGROUNDS
                )
            case _:
                twos = [(Group(*pair), Group(*other)) for other in pairs if other != pair]
                yield from (Spec(category, two, relation=r) for two in twos for r in relations)


def held_out(spec: Spec) -> bool:
    """Whether a spec contains a combination that is held out of training."""
    return any(
        (g.colour, g.shape) in HELD_OUT_PAIRS or (g.count, g.colour, g.shape) in HELD_OUT_COUNTS
        for g in spec.groups
    )


def captions(held: bool) -> list[str]:
    """All captions that are held out of training, or all that are not, in a fixed order."""
    return [write(s) for c in CATEGORIES for s in specs(c) if held_out(s) == held]


def demands(spec: Spec) -> list[Demand]:
    """The facts that a picture of this spec must show; no objects beside the named ones."""
    facts: list[Demand] = []
    for group in spec.groups:
        number = None if group.count == 1 else group.count
        facts.append(Demand("count" if number else "exists", group.name, number))
        facts += [Demand("size", group.name, group.size)] if group.size else []
    first, last = spec.groups[0].name, spec.groups[-1].name
    further = [
        Demand("place", first, spec.place),
        Demand("relation", first, spec.relation, last if spec.relation else ""),
        Demand("background", "", spec.background),
        Demand("total", "", sum(group.count for group in spec.groups)),
    ]
    return facts + [demand for demand in further if demand.value]


def parse(caption: str) -> list[Demand]:
    """A caption's demands of its picture; ValueError outside of the grammar."""
    return demands(read(caption))


def held_out_captions(category: str) -> list[str]:
    """All held-out captions of a category in the fixed shuffled order of the benchmark."""
    texts = (write(spec) for spec in specs(category) if held_out(spec))
    return sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())


def benchmark_prompts() -> list[dict[str, Any]]:
    """The fixed 320 held-out prompts, categories in turn, so that every prefix is balanced."""
    each = {category: held_out_captions(category)[:64] for category in CATEGORIES}
    turns = [(category, each[category][i]) for i in range(64) for category in CATEGORIES]
    return [
        {
            "id": f"shapes-{at:04d}",
            "text": text,
            "category": category,
            "notes": {"objects": [group.name for group in read(text).groups]},
        }
        for at, (category, text) in enumerate(turns)
    ]
