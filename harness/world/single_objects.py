"""The 48 classes of the shapes world: one object of 8 colours and 6 shapes, pictures of 32x32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.world.draw import draw
from harness.world.grammar import COLOURS, SHAPES, Group, Spec, write
from harness.world.scenes import SIZE, Scene, compose

CLASSES = len(COLOURS) * len(SHAPES)
CLASS_SIZE = SIZE // 2
"""Side in pixels of a class picture."""


def class_spec(index: int) -> Spec:
    """One object: colour `index // 6` and shape `index % 6`, in the grammar's order."""
    colour, shape = divmod(index, len(SHAPES))
    return Spec("single", (Group(tuple(COLOURS)[colour], SHAPES[shape]),))


def class_caption(index: int) -> str:
    """The caption of a class, such as "a red circle"."""
    return write(class_spec(index))


def class_scene(index: int, rng: np.random.Generator) -> Scene:
    """A random scene of a class, in the coordinates of the 64x64 picture.

    The object is a quarter as far from the middle as in other scenes, and never very small.
    """
    scene = compose(class_spec(index), rng)
    (obj,) = scene.objects
    middle = SIZE / 2
    x, y = (middle + (place - middle) / 4 for place in (obj.x, obj.y))
    return replace(scene, objects=(replace(obj, x=x, y=y, radius=4 + 0.75 * obj.radius),))


def draw_class(index: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random picture of a class, uint8 [3, 32, 32]: the drawing with 2x2 pixels averaged."""
    drawn = draw(class_scene(index, rng)).astype(np.float32)
    blocks = drawn.reshape(3, CLASS_SIZE, 2, CLASS_SIZE, 2)
    return np.rint(blocks.mean((2, 4))).astype(np.uint8)
