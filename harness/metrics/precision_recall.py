"""Precision, recall, density and coverage by k-nearest-neighbour balls of features.

A ball reaches from a reference (or image) to the k-th nearest other one; its edge is not in it.
Distances are Euclidean, in float64 and in blocks of rows. References' radii are computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.metrics import (
    Encoder,
    FeatureRows,
    Reference,
    ReferenceMetric,
    Statistic,
    Undefined,
    make_encoder,
    metric,
)
from harness.metrics.inception import INCEPTION, WEIGHTS_LICENCE

Features = NDArray[Any]
_CELLS = 1 << 24  # distances in memory at once: 128 MiB
_SPARE = 64  # nearest neighbours looked at beyond the k-th, of which some may be left out


@dataclass(frozen=True)
class Nearest:
    """For each reference, the squared distance to the nearest of `n` images."""

    n: int
    distances: NDArray[np.float64]

    def __add__(self, other: Nearest) -> Nearest:
        return Nearest(self.n + other.n, np.minimum(self.distances, other.distances))


@dataclass(frozen=True)
class _Balls:
    reference: Reference
    k: int

    def problem(self, n: int) -> Undefined | None:
        """Undefined, with the reason, where n images or the references are too few; else None."""
        least = min(len(self.reference.rows), n)
        if self.k < 1 or n < 1 or len(self.reference.rows) <= self.k:
            return Undefined(f"{least} images are too few for {self.k} nearest neighbours")
        return None


@dataclass(frozen=True)
class ImagesInBalls(_Balls):
    """Precision: the share of images in at least one reference's ball.

    With `density`, the mean number of references' balls that an image lies in, divided by k.
    """

    density: bool = False

    def gather(self, features: Features) -> FeatureRows:
        """For each image in how many balls it lies, or whether in any."""
        if self.problem(len(features)):
            return FeatureRows.of(np.zeros(len(features)))
        radii = reference_radii(self.reference, self.k)
        counts = []
        for _, squares in distances(self.reference.accept(features), self.reference.rows):
            inside = squares < radii
            counts.append(inside.sum(1) if self.density else inside.any(1))
        return FeatureRows.of(np.concatenate(counts))

    def value(self, state: FeatureRows) -> float | Undefined:
        share = self.k if self.density else 1
        return self.problem(state.n) or float(state.array.mean()) / share


class BallsWithImages(_Balls):
    """Coverage: the share of references whose ball holds at least one image."""

    def gather(self, features: Features) -> Nearest:
        nearest = np.full(len(self.reference.rows), np.inf)
        for _, squares in distances(self.reference.accept(features), self.reference.rows):
            nearest = np.minimum(nearest, squares.min(0))
        return Nearest(len(features), nearest)

    def value(self, state: Nearest) -> float | Undefined:
        return self.problem(state.n) or float(
            (state.distances < reference_radii(self.reference, self.k)).mean()
        )


class ReferencesInBalls(_Balls):
    """Recall: the share of references in at least one image's ball."""

    def gather(self, features: Features) -> FeatureRows:
        return FeatureRows.of(self.reference.accept(features))

    def value(self, state: FeatureRows) -> float | Undefined:
        if state.n <= self.k:
            return Undefined(f"{state.n} images are too few for {self.k} nearest neighbours")
        images = state.array
        return self._shares(images, _radii(images, self.k)[None])[0]

    def left_out(self, states: Sequence[FeatureRows]) -> Sequence[float | Undefined]:
        images = np.concatenate([state.array for state in states])
        block = np.repeat(np.arange(len(states)), [state.n for state in states])
        most = max(state.n for state in states)
        if len(images) - most <= self.k:
            few = Undefined(f"{len(images) - most} images are too few for {self.k} neighbours")
            return [few] * len(states)
        return self._shares(images, _radii_without(images, block, len(states), self.k))

    def _shares(self, images: Features, radii: NDArray[np.float64]) -> list[float]:
        """For each row of radii [B, n] the share of references within an image's radius."""
        inside = np.zeros(len(radii))
        for _, squares in distances(self.reference.rows, images):
            inside += [(squares < row).any(1).sum() for row in radii]
        return [float(count / len(self.reference.rows)) for count in inside]


def distances(x: Features, y: Features) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Squared distances of blocks of x's rows (the first row's index, [b, m]) to all of y."""
    y = y.astype(np.float64)
    norms = (y**2).sum(1)
    step = max(1, _CELLS // max(len(y), 1))
    for start in range(0, len(x), step):
        rows = x[start : start + step].astype(np.float64)
        squares = (rows**2).sum(1)[:, None] + norms - 2 * (rows @ y.T)
        yield start, np.maximum(squares, 0)


@lru_cache(maxsize=8)
def reference_radii(reference: Reference, k: int) -> NDArray[np.float64]:
    """The squared radius of each reference's ball, [m], cached by reference."""
    return _radii(reference.rows, k)


def _radii(features: Features, k: int) -> NDArray[np.float64]:
    # the nearest of all is the row itself
    parts = [np.partition(squares, k, axis=1)[:, k] for _, squares in distances(features, features)]
    return np.concatenate(parts)


def _radii_without(
    features: Features, block: NDArray[Any], blocks: int, k: int
) -> NDArray[np.float64]:
    """Squared radii [blocks, n] with each block left out; 0 for the images of the block itself."""
    radii = np.zeros((blocks, len(features)))
    near = min(len(features), k + 1 + _SPARE)
    for start, squares in distances(features, features):
        for row, own in enumerate(squares):
            closest = np.argpartition(own, near - 1)[:near]
            closest = closest[np.argsort(own[closest], kind="stable")]
            for left in np.unique(block[closest]):
                stay = closest[block[closest] != left]
                if len(stay) > k:
                    radii[left, start + row] = own[stay[k]]
                else:  # nearly all of its neighbours are of one block
                    radii[left, start + row] = np.partition(own[block != left], k)[k]
            elsewhere = np.setdiff1d(np.arange(blocks), block[closest])
            radii[elsewhere, start + row] = own[closest[k]]
    radii[block, np.arange(len(features))] = 0
    return radii


@dataclass
class _Neighbours(ReferenceMetric):
    """A share of images or references within the k-nearest-neighbour balls of the others."""

    reference: str = ""
    net: str = "inception-tf"
    k: int = 5
    keeps_features = True

    def build_encoder(self) -> Encoder:
        return make_encoder(self.net)


_PR = "Kynkaanniemi et al. 2019, arXiv:1904.06991; as in Naeem et al.'s prdc"
_DC = "Naeem et al. 2020, arXiv:2002.09797"
_NET = f"{INCEPTION}, resized as TensorFlow does; others by (net=...)"


@metric(
    "precision",
    title="Precision",
    direction="higher",
    range=(0, 1),
    model=_NET,
    paper=_PR,
    licence=WEIGHTS_LICENCE,
)
class Precision(_Neighbours):
    """Share of images within a reference's ball to its `k`-th nearest reference (fidelity).

    `k`: 5 as in prdc; Kynkaanniemi et al. have 3. `net`: an encoder, as of fd.
    """

    def statistic(self) -> Statistic[Any]:
        return ImagesInBalls(self.target(), self.k)


@metric(
    "recall",
    title="Recall",
    direction="higher",
    range=(0, 1),
    model=_NET,
    paper=_PR,
    licence=WEIGHTS_LICENCE,
)
class Recall(_Neighbours):
    """Share of references within an image's ball to its `k`-th nearest image (variety).

    Parameters as of precision.
    """

    def statistic(self) -> Statistic[Any]:
        return ReferencesInBalls(self.target(), self.k)


@metric(
    "density",
    title="Density",
    direction="higher",
    range=(0, inf),
    model=_NET,
    paper=_DC,
    licence=WEIGHTS_LICENCE,
)
class Density(_Neighbours):
    """Mean number of references' balls that hold an image, over `k`; parameters as of precision."""

    def statistic(self) -> Statistic[Any]:
        return ImagesInBalls(self.target(), self.k, density=True)


@metric(
    "coverage",
    title="Coverage",
    direction="higher",
    range=(0, 1),
    model=_NET,
    paper=_DC,
    licence=WEIGHTS_LICENCE,
)
class Coverage(_Neighbours):
    """Share of references whose ball holds an image; parameters as of precision."""

    def statistic(self) -> Statistic[Any]:
        return BallsWithImages(self.target(), self.k)
