"""Renders scenes from signed distances, anti-aliased over one pixel. Numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.world.scenes import REACH, SIZE, Scene, SceneObject

Floats = NDArray[np.float32]


def _vertices(points: int, outer: float, inner: float | None = None) -> Floats:
    """Corners of a regular polygon, or of a star with an inner radius; the first one points up."""
    n = points if inner is None else 2 * points
    turn = 2 * np.pi * np.arange(n) / n - np.pi / 2
    radius = np.full(n, outer)
    if inner is not None:
        radius[1::2] = inner
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], 1).astype(np.float32)


_TRIANGLE = _vertices(3, 1.2)
_STAR = _vertices(5, 1.25, 0.55)


def _polygon(x: Floats, y: Floats, corners: Floats) -> Floats:
    """Signed distance of points [P] to a closed polygon [N, 2], negative inside."""
    ax, ay = corners[:, :1], corners[:, 1:]
    bx, by = np.roll(ax, -1, 0), np.roll(ay, -1, 0)
    ex, ey = bx - ax, by - ay
    wx, wy = x[None] - ax, y[None] - ay
    t = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
    distance = np.sqrt(((wx - t * ex) ** 2 + (wy - t * ey) ** 2).min(0))
    crossed = ((ay <= y) != (by <= y)) & ((ex * wy - ey * wx > 0) == (ey > 0))
    inside = crossed.sum(0) % 2 == 1
    return np.where(inside, -distance, distance)


def _box(x: Floats, y: Floats, half_x: float, half_y: float) -> Floats:
    """Signed distance to an axis-parallel box around the origin."""
    dx, dy = np.abs(x) - half_x, np.abs(y) - half_y
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return outside + np.minimum(np.maximum(dx, dy), 0)


def distance(obj: SceneObject, x: Floats, y: Floats) -> Floats:
    """Signed distance in pixels from points [P] to an object's outline, negative inside."""
    r, cos, sin = obj.radius, np.float32(np.cos(obj.angle)), np.float32(np.sin(obj.angle))
    px, py = x - np.float32(obj.x), y - np.float32(obj.y)
    px, py = cos * px + sin * py, cos * py - sin * px
    match obj.shape:
        case "circle":
            return np.hypot(px, py) - r
        case "ring":
            return np.abs(np.hypot(px, py) - 0.78 * r) - 0.25 * r
        case "square":
            return _box(px, py, 0.87 * r, 0.87 * r)
        case "cross":
            upright, across = _box(px, py, 0.36 * r, 1.08 * r), _box(px, py, 1.08 * r, 0.36 * r)
            return np.minimum(upright, across)
        case other:
            return _polygon(px, py, (_TRIANGLE if other == "triangle" else _STAR) * np.float32(r))


def draw(scene: Scene) -> NDArray[np.uint8]:
    """The picture of a scene, uint8 [3, 64, 64] RGB."""
    picture = np.empty((3, SIZE, SIZE), np.float32)
    picture[:] = np.asarray(scene.rgb, np.float32)[:, None, None]
    for obj in scene.objects:
        reach = obj.radius * REACH[obj.shape] + 1.0
        x0, x1 = max(int(obj.x - reach), 0), min(int(obj.x + reach) + 1, SIZE)
        y0, y1 = max(int(obj.y - reach), 0), min(int(obj.y + reach) + 1, SIZE)
        ys, xs = np.mgrid[y0:y1, x0:x1].astype(np.float32) + np.float32(0.5)
        cover = np.clip(0.5 - distance(obj, xs.ravel(), ys.ravel()), 0, 1).reshape(xs.shape)
        patch = picture[:, y0:y1, x0:x1]
        patch += cover * (np.asarray(obj.rgb, np.float32)[:, None, None] - patch)
    return np.rint(picture).astype(np.uint8)
