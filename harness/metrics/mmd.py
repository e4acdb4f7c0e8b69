"""Maximum mean discrepancy of two sets of features (Gretton et al. 2012): KID and CMMD."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    RowStatistic,
    Statistic,
    Undefined,
    make_encoder,
    metric,
)
from harness.metrics.clip_features import CmmdFeatures
from harness.metrics.inception import INCEPTION, WEIGHTS_LICENCE

Features = NDArray[Any]
Kernel = Callable[[Features, Features], NDArray[np.float64]]

_CHUNK = 2048  # rows of a block of kernel values: 32 MiB of them
_SIGMA = 10.0
_SEED = 2020


def polynomial(x: Features, y: Features) -> NDArray[np.float64]:
    """(x y / F + 1)^3, of features float64 [n, F] and [m, F]."""
    values: NDArray[np.float64] = (x @ y.T / x.shape[1] + 1) ** 3
    return values


def gaussian(x: Features, y: Features) -> NDArray[np.float64]:
    """exp(-|x - y|^2 / (2 sigma^2)) with sigma 10, of features float64 [n, F] and [m, F]."""
    squares = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
    return np.exp(-squares / (2 * _SIGMA**2))


@dataclass(frozen=True)
class Mmd(RowStatistic):
    """Squared MMD of images to a reference's features, times `scale`.

    `unbiased` leaves out the pairs of an image with itself (it may then be below 0); else they
    count. A jackknife costs no more than the value: it works on sums over pairs of blocks.
    """

    kernel: Kernel
    unbiased: bool
    scale: float

    def value(self, state: FeatureRows) -> float | Undefined:
        return self._value(state.n, *self._sums([state]), leave_out=None)

    def left_out(self, states: Sequence[FeatureRows]) -> list[float | Undefined]:
        n = sum(state.n for state in states)
        among, across = self._sums(states)
        return [
            self._value(n - state.n, among, across, leave_out=at) for at, state in enumerate(states)
        ]

    def _sums(self, states: Sequence[FeatureRows]) -> tuple[Features, Features]:
        """Kernel sums between blocks [B, B], and between them and the reference [B]."""
        blocks = [state.array for state in states]
        among = np.zeros((len(blocks), len(blocks)))
        for i, one in enumerate(blocks):
            for j, other in enumerate(blocks[: i + 1]):
                among[i, j] = among[j, i] = kernel_sum(self.kernel, one, other)
            if self.unbiased:
                among[i, i] -= diagonal_sum(self.kernel, one)
        across = [kernel_sum(self.kernel, block, self.reference.rows) for block in blocks]
        return among, np.array(across)

    def _value(
        self, n: int, among: Features, across: Features, leave_out: int | None
    ) -> float | Undefined:
        if leave_out is not None:
            among = np.delete(np.delete(among, leave_out, 0), leave_out, 1)
            across = np.delete(across, leave_out)
        m = len(self.reference.rows)
        if n < 2 or m < 2:
            return Undefined(f"{min(n, m)} images are too few for a mean over pairs of images")
        own = among.sum() / (n * (n - 1) if self.unbiased else n * n)
        return float(
            self.scale * (own + _own_mean(self.reference, self.kernel, self.unbiased))
            - self.scale * 2 * across.sum() / (n * m)
        )


@dataclass(frozen=True)
class SubsetMmd(RowStatistic):
    """The mean of the unbiased squared MMD over random subsets of `size` images on both sides.

    Drawn as torch-fidelity draws them (seed 2020), from the images in their order.
    """

    kernel: Kernel
    subsets: int
    size: int

    def value(self, state: FeatureRows) -> float | Undefined:
        rng = np.random.RandomState(_SEED)
        ours, theirs = state.array, self.reference.rows
        least = min(len(ours), len(theirs))
        if least < self.size or self.size < 2:
            return Undefined(f"{least} images are too few for subsets of {self.size}")
        values = []
        for _ in range(self.subsets):
            x = ours[rng.choice(len(ours), self.size, replace=False)]
            y = theirs[rng.choice(len(theirs), self.size, replace=False)]
            own = sum(kernel_sum(self.kernel, f, f) - diagonal_sum(self.kernel, f) for f in (x, y))
            across = kernel_sum(self.kernel, x, y) / self.size**2
            values.append(own / (self.size * (self.size - 1)) - 2 * across)
        return float(np.mean(values))

    def left_out(self, states: Any) -> Undefined:
        return Undefined("no interval: subsets overlap; without `subsets` there is one")


def kernel_sum(kernel: Kernel, x: Features, y: Features) -> float:
    """The sum of kernel(x_i, y_j) over all pairs, in blocks that fit into memory."""
    total = 0.0
    for i in range(0, len(x), _CHUNK):
        rows = x[i : i + _CHUNK].astype(np.float64)
        for j in range(0, len(y), _CHUNK):
            total += float(kernel(rows, y[j : j + _CHUNK].astype(np.float64)).sum())
    return total


def diagonal_sum(kernel: Kernel, x: Features) -> float:
    """The sum of kernel(x_i, x_i)."""
    rows = x.astype(np.float64)
    return sum(float(kernel(row[None], row[None])[0, 0]) for row in rows)


@lru_cache(maxsize=8)
def _own_mean(reference: Reference, kernel: Kernel, unbiased: bool) -> float:
    """Mean of the kernel over pairs of the reference's own features, cached."""
    features = reference.rows
    m = len(features)
    total = kernel_sum(kernel, features, features)
    if unbiased:
        return (total - diagonal_sum(kernel, features)) / (m * (m - 1))
    return total / m**2


@metric(
    "kid",
    title="KID",
    direction="lower",
    model=f"{INCEPTION}, resized as TensorFlow does; others by kid(net=...)",
    paper="Binkowski et al. 2018, arXiv:1801.01401",
    licence=WEIGHTS_LICENCE,
)
@dataclass
class Kid(ReferenceMetric):
    """Kernel distance: unbiased squared MMD of features by the kernel (x y / F + 1)^3, not scaled.

    Over all pairs of images: exactly what the usual mean over random subsets estimates, with no
    chance in it. `subsets`: that mean over so many subsets of `subset_size` images, drawn as
    torch-fidelity draws them; without an interval. `net`: an encoder, as of fd.
    """

    reference: str = ""
    net: str = "inception-tf"
    subsets: int = 0
    subset_size: int = 1000
    keeps_features = True
    enough = 0

    def build_encoder(self) -> Encoder:
        return make_encoder(self.net)

    def statistic(self) -> Statistic[Any]:
        if self.subsets:
            return SubsetMmd(self.target(), polynomial, self.subsets, self.subset_size)
        return Mmd(self.target(), polynomial, unbiased=True, scale=1)


@metric(
    "cmmd",
    title="CMMD",
    direction="lower",
    range=(0, inf),
    model="open_clip ViT-L-14-336, openai, 768 features",
    paper="Jayasumana et al. 2024, arXiv:2401.09603",
    licence="MIT (openai weights)",
)
@dataclass
class Cmmd(ReferenceMetric):
    """CLIP maximum mean discrepancy: 1000 times the squared MMD by a Gaussian kernel of sigma 10.

    Of unit CLIP features, by the estimator of least variance, as the paper's code.
    """

    reference: str = ""
    model: str = "ViT-L-14-336"
    pretrained: str = "openai"
    keeps_features = True
    enough = 0

    def build_encoder(self) -> Encoder:
        return CmmdFeatures(self.model, self.pretrained)

    def statistic(self) -> Statistic[Any]:
        return Mmd(self.target(), gaussian, unbiased=False, scale=1000)
