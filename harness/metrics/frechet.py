"""The Frechet distance between Gaussians fitted to two sets of features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import HarnessError
from harness.metrics.set_statistics import Moments, Rows
from harness.metrics.undefined import Undefined

POINTS = 15
"""Numbers of images to which FID-infinity fits its line, as in the paper."""


@dataclass(frozen=True, eq=False)
class Reference:
    """What to measure against: `n` images' mean `mu` [F] and covariance `sigma` [F, F].

    `n` is None where the file does not say. `features` [m, F] of the same images, or of m of them,
    where they were kept. `meta` are words: encoder, hash of its weights, source.
    """

    mu: NDArray[np.float64]
    sigma: NDArray[np.float64]
    n: int | None
    meta: dict[str, str]
    features: NDArray[np.float32] | None = None

    @cached_property
    def root(self) -> NDArray[np.float64]:
        """Some R with R R^T = sigma: Cholesky's, or of a singular sigma the symmetric one."""
        try:
            factor: NDArray[np.float64] = np.linalg.cholesky(self.sigma).astype(np.float64)
            return factor
        except np.linalg.LinAlgError:
            values, vectors = np.linalg.eigh(self.sigma)
            return vectors * np.sqrt(np.clip(values, 0, None))


def frechet_distance(
    mu: NDArray[np.float64], sigma: NDArray[np.float64], reference: Reference
) -> float:
    """|mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), Dowson and Landau 1982.

    S1 S2 has the eigenvalues of the symmetric R^T S1 R, where S2 = R R^T. So the trace of its root
    is a sum of real roots: defined for singular covariances, without any rounding of imaginary
    parts, and many times faster than a general matrix square root.
    """
    inner = reference.root.T @ sigma @ reference.root
    values = np.linalg.eigvalsh((inner + inner.T) / 2)
    cross = np.sqrt(np.clip(values, 0, None)).sum()
    step = mu - reference.mu
    return float(step @ step + np.trace(sigma) + np.trace(reference.sigma) - 2 * cross)


@dataclass(frozen=True)
class Frechet:
    """The Frechet distance to a reference as a statistic over features.

    With no more images than features the covariance is singular and the distance mostly bias: it
    is undefined unless `allow_few`.
    """

    reference: Reference
    allow_few: bool = False

    def gather(self, features: NDArray[Any]) -> Moments:
        _check_width(features, self.reference)
        return Moments.of(features)

    def value(self, state: Moments) -> float | Undefined:
        width = len(self.reference.mu)
        if state.n < 2 or (state.n <= width and not self.allow_few):
            return Undefined(
                f"{state.n} images are too few for a Frechet distance in {width} features "
                f"(at least {width + 1}, or allow_few=true)"
            )
        return frechet_distance(state.mean, state.covariance, self.reference)


@dataclass(frozen=True)
class FrechetInfinity:
    """The Frechet distance that infinitely many images would have.

    Chong and Forsyth 2020 (arXiv:1911.07023): the distance's bias is linear in 1/N, so a line
    through POINTS numbers of images, from a tenth of them on, is read off at 1/N = 0. Its smaller
    sets are the beginnings of one shuffling of the images (seed 0).
    """

    reference: Reference

    def gather(self, features: NDArray[Any]) -> Rows:
        _check_width(features, self.reference)
        return Rows.of(features)

    def value(self, state: Rows) -> float | Undefined:
        width, n = len(self.reference.mu), state.n
        least = max(n // 10, width + 1)
        if n < 2 * least:
            return Undefined(
                f"{n} images are too few for FID-infinity in {width} features: it needs the "
                f"distance at several numbers of images above {width}, so at least {2 * width + 2}"
            )
        shuffled = state.array[np.random.RandomState(0).permutation(n)]
        sizes = np.linspace(least, n, POINTS).astype(int)
        moments = Moments.of(shuffled[:0])
        values = []
        for start, stop in zip([0, *sizes[:-1]], sizes, strict=True):
            moments = moments + Moments.of(shuffled[start:stop])
            values.append(frechet_distance(moments.mean, moments.covariance, self.reference))
        _, intercept = np.polyfit(1 / sizes, values, 1)
        return float(intercept)

    def left_out(self, states: Any) -> Undefined:
        return Undefined("no interval: that of FID-infinity is not known; fid has one at its n")


def _check_width(features: NDArray[Any], reference: Reference) -> None:
    width = len(reference.mu)
    if features.shape[1] != width:
        raise HarnessError(
            f"these images have {features.shape[1]} features and the reference {width}: "
            "they come from different encoders"
        )
