"""The world of coloured shapes: captions, their meaning, and scenes that fulfil them.

A caption is written from a `Spec` and read back into the same `Spec`; a `Spec` states `Demand`s that
a picture can be checked against, and can be composed into a `Scene` that meets all of them. Numpy only.

Held out of training are six colour-shape pairs (one for each shape) and some further counts of other
pairs: `training_scene` never writes or draws them, every benchmark prompt contains one of them.
Coordinates and lengths are pixels of a 64x64 picture, x to the right, y downwards.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import *  # placeholder

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
