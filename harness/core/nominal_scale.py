"""The guidance scale that a whole run amounts to, from all of its evaluations at once.

What a sampler returns is a sum of its noise predictions with coefficients a_j, so that guidance
moved the picture by sum_j a_j w_j (c - u)_j, and one weight for all evaluations by as much is

    sum_j a_j p_j w_j / sum_j a_j p_j,

with p_j how far guidance moves at an evaluation's level: the norm of c - u, its mean over the
evaluations of that level with both branches, or of the nearest level that has one. Signs are kept
and nothing is grouped, so the scale does not depend on how a sampler is written.

An evaluation that leads back up undoes steps, and p_j is theirs: the last that were taken, as far
as it goes back. So going back over a stretch weighs what going down it weighed. With its own push,
of the stretch's lower end, the sum below the line would be a difference of nearly equal numbers,
since c - u grows on the way down: Z-Sampling on the embedded model would have 29 with a standard
deviation of 24 where 2 gamma_1 - gamma_2 is 11.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_ALIKE = 1e-6  # relative difference of levels that are one, of samplers in single precision, too
_NOTHING = 1e-12  # a coefficient, against the largest
_CANCELS = 1e-3  # the sum of moves, against that of their sizes


class Evaluations(NamedTuple):
    """A batch's evaluations in order: `level` [K] of the state, `coefficient` [K], applied scale
    `weight` and norm of c - u `push`, both [K, B]; NaN where only one branch was evaluated."""

    level: Floats
    coefficient: Floats
    weight: Floats
    push: Floats


class Profile(NamedTuple):
    """Norms of c - u `push` [L, B] at decreasing levels `level` [L]."""

    level: Floats
    push: Floats


def run_scale(found: Evaluations, reference: Profile | None = None) -> tuple[Floats, Mask]:
    """The scales [B], NaN where there is none; and of which images [B] for want of pushes.

    Of the others without a scale the moves cancel. Pushes are not extrapolated: where those of
    levels above or below all that had both branches matter, an image's are taken from `reference`,
    another run of it.
    """
    size = np.abs(found.coefficient)
    counted = size > _NOTHING * size.max()
    level, coefficient, weight, push = (part[counted] for part in found)
    down = coefficient[:, None] < 0
    seen = profile(level, np.where(down, push, np.nan))
    at = np.abs(level[:, None] - seen.level).argmin(1)
    undone = _undone(coefficient)
    matters: Mask = np.any(undone > 0, axis=0, keepdims=True).T
    unknown = (_beyond(seen)[at] & matters).any(0)
    push = _nearest(seen)[at]
    if reference is not None:
        others = _interpolated(reference, seen.level)[at]
        push = np.where(unknown, others, push)
        unknown &= np.isnan(others).any(0)
    moves = coefficient[:, None] * (undone @ push)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = (moves * weight).sum(0) / moves.sum(0)
    sure = np.abs(moves.sum(0)) > _CANCELS * np.abs(moves).sum(0)
    alike = np.isclose(weight, weight[0], rtol=1e-9).all(0)
    return np.where(alike, weight[0], np.where(sure & ~unknown, scale, np.nan)), unknown & ~alike


def profile(level: Floats, push: Floats) -> Profile:
    """The mean push at each distinct level, from evaluations [K] and [K, B]; NaN where no
    evaluation of a level had both branches."""
    order = np.argsort(-level, kind="stable")
    ranked = level[order]
    new = np.r_[True, ranked[:-1] - ranked[1:] > _ALIKE * ranked[:-1]]
    groups, seen = np.cumsum(new) - 1, ~np.isnan(push[order])
    sums, counts = np.zeros((2, groups[-1] + 1, push.shape[1]))
    np.add.at(sums, groups, np.where(seen, push[order], 0.0))
    np.add.at(counts, groups, seen)
    with np.errstate(invalid="ignore"):
        return Profile(ranked[new], sums / counts)


def _undone(coefficient: Floats) -> Floats:
    """Whose pushes each evaluation has, as shares [K, K]: its own where it leads down; where it
    leads up, those of the steps that it undoes, the last one first, and beyond them its own."""
    shares = np.eye(len(coefficient))
    taken: list[tuple[int, float]] = []
    for k, a in enumerate(coefficient.tolist()):
        if a < 0:
            taken.append((k, -a))
            continue
        left, shares[k, k] = a, 0.0
        while left > _ALIKE * a and taken:
            step, length = taken.pop()
            part = min(left, length)
            shares[k, step] += part / a
            left -= part
            if length - part > _ALIKE * length:
                taken.append((step, length - part))
        shares[k, k] += max(1 - shares[k].sum(), 0.0)
    return shares


def _beyond(seen: Profile) -> Mask:
    """Which levels [L, B] lie above or below all whose pushes were seen."""
    known = ~np.isnan(seen.push)
    return ~(np.logical_or.accumulate(known) & np.logical_or.accumulate(known[::-1])[::-1])


def _nearest(seen: Profile) -> Floats:
    """Pushes [L, B], those that were not seen of the nearest level; NaN where none was."""
    apart = np.abs(seen.level[:, None] - seen.level)[:, :, None]
    best = np.where(np.isnan(seen.push), np.inf, apart).argmin(1)
    return np.take_along_axis(seen.push, best, 0)


def _interpolated(known: Profile, levels: Floats) -> Floats:
    """Pushes at other levels: linear in log sigma, and constant beyond the ends."""
    least = np.finfo(np.float64).tiny
    x, grid = (np.log(np.maximum(v, least)) for v in (levels, known.level[::-1]))
    rows = [np.interp(x, grid, row[::-1]) for row in np.eye(len(known.level))]
    return np.stack(rows, axis=1) @ known.push
