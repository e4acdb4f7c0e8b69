"""Drawing: edges, areas, no overlap."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from harness.world import scenes
from harness.world.draw import distance, draw
from harness.world.grammar import SHAPES
from harness.world.scenes import REACH, SIZE, Scene, SceneObject


def alone(shape: str, x: float = 32.0, y: float = 32.0, radius: float = 11.0) -> np.ndarray:
    """Coverage [64, 64] in [0, 1] of a white shape on black."""
    obj = SceneObject("red", shape, x, y, radius, 0.1, (255.0, 255.0, 255.0))
    return draw(Scene((obj,), "black", (0.0, 0.0, 0.0)))[0] / 255.0


@pytest.mark.parametrize("shape", SHAPES)
def test_edges_are_anti_aliased_and_flat_elsewhere(shape: str) -> None:
    cover = alone(shape)
    partial = ((cover > 0) & (cover < 1)).sum()
    assert 20 < partial < 300
    assert (cover == 1).sum() > 50
    assert (cover[0] == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_coverage_is_the_area_and_moves_smoothly(shape: str) -> None:
    obj = SceneObject("red", shape, 32.0, 32.0, 11.0, 0.1, (255.0,) * 3)
    fine = (np.arange(SIZE * 8, dtype=np.float32) + 0.5) / 8
    xs, ys = np.meshgrid(fine, fine)
    area = (distance(obj, xs.ravel(), ys.ravel()) < 0).mean() * SIZE**2
    assert alone(shape).sum() == pytest.approx(area, rel=0.02)
    for shift in (0.25, 0.5, 0.75):
        assert alone(shape, 32 + shift).sum() == pytest.approx(area, rel=0.02)


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_drawn_beyond_the_reach(shape: str) -> None:
    cover = alone(shape)
    ys, xs = np.nonzero(cover)
    far = np.hypot(xs + 0.5 - 32, ys + 0.5 - 32).max()
    assert far <= 11.0 * REACH[shape] + 1.5


def test_objects_keep_apart_and_inside() -> None:
    rng = np.random.default_rng(2)
    for _ in range(500):
        scene, _ = scenes.any_scene(rng)
        for obj in scene.objects:
            reach = obj.radius * REACH[obj.shape]
            assert min(obj.x, obj.y) - reach >= 0.99
            assert max(obj.x, obj.y) + reach <= SIZE - 0.99
        for a, b in itertools.combinations(scene.objects, 2):
            gap = np.hypot(a.x - b.x, a.y - b.y)
            assert gap >= a.radius * REACH[a.shape] + b.radius * REACH[b.shape] + 1.99


def test_pictures_are_a_function_of_the_scene() -> None:
    scene = scenes.scene("two red stars", np.random.default_rng(3))
    assert scene == scenes.scene("two red stars", np.random.default_rng(3))
    pictures = np.stack([draw(scene), draw(scene)])
    assert pictures.shape == (2, 3, SIZE, SIZE)
    assert pictures.dtype == np.uint8
    assert (pictures[0] == pictures[1]).all()
