"""Captions, their meaning, the held-out split and the benchmark prompts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from harness.world import grammar, scenes
from harness.world.grade import Seen, grade
from harness.world.grammar import CATEGORIES, Demand, parse

EVERY_SPEC = [spec for category in CATEGORIES for spec in grammar.specs(category)]


def test_reading_is_the_exact_inverse_of_writing_for_every_caption() -> None:
    captions = [grammar.write(spec) for spec in EVERY_SPEC]
    assert len(set(captions)) == len(captions)
    for spec, caption in zip(EVERY_SPEC, captions, strict=True):
        assert grammar.read(caption) == spec
        assert parse(caption) == grammar.demands(spec)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a red",
        "red circle",
        "an red circle",
        "a orange star",
        "a red circles",
        "two red circle",
        "three red crosss",
        "four large red squares",
        "a red circle and a red circle",
        "a red circle and two blue stars",
        "a small red circle above a blue star",
        "a red circle on a green background",
        "two red circles on a black background",
        "A red circle",
        "a red circle ",
        "a photo of a cat",
    ],
)
def test_a_caption_outside_of_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="shapes world"):
        parse(text)


def test_demands_of_each_kind() -> None:
    assert parse("a red circle to the left of a blue square") == [
        Demand("exists", "red circle"),
        Demand("exists", "blue square"),
        Demand("relation", "red circle", "left", "blue square"),
        Demand("total", value=2),
    ]
    assert parse("three small green crosses") == [
        Demand("count", "green cross", 3),
        Demand("size", "green cross", "small"),
        Demand("total", value=3),
    ]
    assert parse("an orange star at the top")[1] == Demand("place", "orange star", "top")
    assert parse("a red star on a gray background")[1] == Demand("background", value="gray")


def test_training_never_shows_a_held_out_combination() -> None:
    rng = np.random.default_rng(0)
    held = set(grammar.captions(held=True))
    assert not held & set(grammar.captions(held=False))
    for _ in range(1500):
        scene, caption = scenes.training_scene(rng)
        assert caption not in held
        pairs = Counter((o.colour, o.shape) for o in scene.objects)
        assert not set(pairs) & grammar.HELD_OUT_PAIRS
        assert not {(n, *pair) for pair, n in pairs.items()} & grammar.HELD_OUT_COUNTS


def test_every_scene_meets_all_demands_of_its_caption() -> None:
    rng = np.random.default_rng(1)
    for _ in range(1000):
        scene, caption = scenes.any_scene(rng)
        seen = [Seen(o.colour, o.shape, o.x, o.y, o.radius) for o in scene.objects]
        assert grade(seen, scene.background, parse(caption)) == (1.0, True)


def test_benchmark_prompts_are_held_out_balanced_and_fixed() -> None:
    rows = grammar.benchmark_prompts()
    assert rows == grammar.benchmark_prompts()
    assert [row["id"] for row in rows] == [f"shapes-{i:04d}" for i in range(320)]
    assert len({row["text"] for row in rows}) == 320
    assert {row["text"] for row in rows} <= set(grammar.captions(held=True))
    for end in range(5, 321, 5):
        assert set(Counter(row["category"] for row in rows[:end]).values()) == {end // 5}
    for row in rows:
        spec = grammar.read(row["text"])
        assert row["category"] == spec.category
        assert row["notes"]["objects"] == [group.name for group in spec.groups]


def see(name: str, x: float, y: float, radius: float = 9.0) -> Seen:
    colour, shape = name.split()
    return Seen(colour, shape, x, y, radius)


@pytest.mark.parametrize(
    ("caption", "objects", "background", "expected"),
    [
        ("a red circle", [see("red circle", 30, 30)], "soft", (1.0, True)),
        ("a red circle", [], "soft", (0.0, False)),
        ("a red circle", [see("red star", 30, 30)], "soft", (0.5, False)),
        (
            "a red circle and a blue star",
            [see("blue circle", 10, 30), see("red star", 50, 30)],
            "soft",
            (1 / 3, False),
        ),
        (
            "three red rings",
            [see("red ring", 10 + 20 * i, 30) for i in range(4)],
            "black",
            (0.0, False),
        ),
        (
            "a red circle above a blue star",
            [see("red circle", 30, 45), see("blue star", 30, 15)],
            "soft",
            (0.75, False),
        ),
        (
            "a red circle below a blue star",
            [see("red circle", 30, 45), see("blue star", 30, 15)],
            "soft",
            (1.0, True),
        ),
        ("a red star on a gray background", [see("red star", 9, 9)], "white", (2 / 3, False)),
        ("a small red star", [see("red star", 30, 30, 13.0)], "white", (2 / 3, False)),
        ("a red star at the top", [see("red star", 30, 20)], "white", (1.0, True)),
        ("a red star at the top", [see("red star", 30, 40)], "white", (2 / 3, False)),
    ],
)
def test_grades_by_hand(
    caption: str, objects: list[Seen], background: str, expected: tuple[float, bool]
) -> None:
    share, exact = grade(objects, background, parse(caption))
    assert share == pytest.approx(expected[0])
    assert exact == expected[1]
