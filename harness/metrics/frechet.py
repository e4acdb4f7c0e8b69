"""The Frechet distance between Gaussians fitted to two sets of features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.metrics.base import Undefined
from harness.metrics.statistics import Moments


@dataclass(frozen=True)
class Reference:
    """A Gaussian to measure against: `mu` [F], `sigma` [F, F], fitted to `n` images."""

    mu: NDArray[np.float64]
    sigma: NDArray[np.float64]
    n: int
    meta: dict[str, str]

    @cached_property
    def root(self) -> NDArray[np.float64]:
        """The symmetric square root of sigma."""
        values, vectors = np.linalg.eigh(self.sigma)
        return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def read_reference(path: Path) -> Reference:
    """Read a .npz with arrays mu, sigma and n, and texts as metadata."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if missing := {"mu", "sigma", "n"} - arrays.keys():
        raise HarnessError(f"{path} is no reference: it holds no {', '.join(sorted(missing))}")
    mu = arrays.pop("mu").astype(np.float64)
    sigma = arrays.pop("sigma").astype(np.float64)
    if sigma.shape != (len(mu), len(mu)):
        raise HarnessError(f"{path}: sigma is {sigma.shape}, but mu has {len(mu)} features")
    n = int(arrays.pop("n"))
    return Reference(mu, sigma, n, {name: str(value) for name, value in arrays.items()})


def frechet_distance(
    mu: NDArray[np.float64], sigma: NDArray[np.float64], reference: Reference
) -> float:
    """|mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), Dowson and Landau 1982.

    The trace of the root is taken from the eigenvalues of the symmetric R S R, with R the root of
    the reference's covariance: exact for singular covariances, real without any rounding of
    imaginary parts, and several times faster than a general matrix square root.
    """
    inner = reference.root @ sigma @ reference.root
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
        width = len(self.reference.mu)
        if features.shape[1] != width:
            raise HarnessError(
                f"these images have {features.shape[1]} features and the reference {width}: "
                "they come from different encoders"
            )
        return Moments.of(features)

    def value(self, state: Moments) -> float | Undefined:
        width = len(self.reference.mu)
        if state.n < 2 or (state.n <= width and not self.allow_few):
            return Undefined(
                f"{state.n} images are too few for a Frechet distance in {width} features "
                f"(at least {width + 1}, or allow_few=true)"
            )
        return frechet_distance(state.mean, state.covariance, self.reference)
