"""Statistics of sets of features, reference statistics, and jackknife intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import HarnessError
from harness.metrics.undefined import Undefined

S = TypeVar("S")

BLOCKS = 20
"""Blocks of a jackknife: fewer make its interval unsteady, more cost more."""


class Statistic(Protocol[S]):
    """A number of a set of features, computed from states that can be added.

    `gather(a) + gather(b)` states the same as `gather` of both together, in whatever order and
    pieces: shards, ranks and the blocks of a jackknife all rest on it.
    """

    def gather(self, features: NDArray[Any]) -> S:
        """The state of features [n, F]."""

    def value(self, state: S) -> float | Undefined:
        """The number, or why it is undefined (too few images)."""


@runtime_checkable
class LeavesOut(Protocol):
    """A statistic that computes its leave-one-out values over several states itself.

    For those whose states only hold the features, so that adding them up saves nothing.
    """

    def left_out(self, states: Sequence[Any]) -> Sequence[float | Undefined] | Undefined:
        """The value without each state in turn; Undefined where it has no such values."""


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """The features themselves, for statistics that are no sums; concatenated on first use."""

    parts: tuple[NDArray[Any], ...]

    @classmethod
    def of(cls, features: NDArray[Any]) -> FeatureRows:
        return cls((np.asarray(features),))

    def __add__(self, other: FeatureRows) -> FeatureRows:
        return FeatureRows(self.parts + other.parts)

    @property
    def n(self) -> int:
        return sum(map(len, self.parts))

    @cached_property
    def array(self) -> NDArray[Any]:
        """All rows [n, F], in the order in which they were added."""
        return self.parts[0] if len(self.parts) == 1 else np.concatenate(self.parts)


@dataclass(frozen=True)
class RowStatistic:
    """Base of statistics against a reference whose state is the features themselves."""

    reference: Reference

    def gather(self, features: NDArray[Any]) -> FeatureRows:
        return FeatureRows.of(self.reference.accept(features))


@dataclass(frozen=True)
class Moments:
    """Number, mean [F] and scatter (sum of outer products about the mean) [F, F], in float64."""

    n: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @classmethod
    def of(cls, features: NDArray[Any]) -> Moments:
        """The moments of features [n, F]."""
        rows = np.asarray(features, np.float64)
        if not len(rows):
            width = rows.shape[1]
            return cls(0, np.zeros(width), np.zeros((width, width)))
        mean = rows.mean(0)
        centred = rows - mean
        return cls(len(rows), mean, centred.T @ centred)

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets together (Chan et al. 1983): stable, unlike sums of squares."""
        n = self.n + other.n
        if not n:
            return self
        step = other.mean - self.mean
        mean = self.mean + step * (other.n / n)
        between = np.outer(step, step) * (self.n * other.n / n)
        return Moments(n, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> NDArray[np.float64]:
        """The unbiased covariance [F, F]; needs n >= 2."""
        return self.scatter / (self.n - 1)


@dataclass(frozen=True, eq=False)
class Reference:
    """Reference statistics: mean `mu` [F] and covariance `sigma` [F, F] of `n` images.

    `n` is None where the file lacks it. `features` [m, F] of the same images, or of m of them,
    where they were kept. `meta` is text by key: encoder, hash of its weights, source.
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

    @property
    def rows(self) -> NDArray[np.float32]:
        """The features [m, F], of a reference that must hold them."""
        assert self.features is not None
        return self.features

    def accept(self, features: NDArray[Any]) -> NDArray[Any]:
        """`features` [n, F], checked to be as wide as the reference; else HarnessError."""
        if features.shape[1] != len(self.mu):
            raise HarnessError(
                f"these images have {features.shape[1]} features and the reference "
                f"{len(self.mu)}: they come from different encoders"
            )
        return features


def deal(groups: Sequence[str], blocks: int = BLOCKS) -> NDArray[np.intp] | None:
    """Jackknife block in [0, blocks) of each row, groups kept whole; None with too few groups.

    It depends on the set of groups alone, so two runs over the same prompts get the same blocks.
    """
    names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return index % blocks if len(names) >= blocks else None


def delete_one(statistic: Statistic[Any], states: Sequence[Any]) -> NDArray[np.float64] | Undefined:
    """Leave-one-block-out values of a statistic; `states` are those of the blocks."""
    known = statistic.left_out(states) if isinstance(statistic, LeavesOut) else None
    if isinstance(known, Undefined):
        return known
    left_out: list[float] = []
    for without in _left_out(statistic, states) if known is None else known:
        if isinstance(without, Undefined):
            blocks = f"one of {len(states)} blocks left out"
            return Undefined(f"no interval: with {blocks}, {without.reason}")
        left_out.append(without)
    return np.asarray(left_out)


def jackknife(
    value: float, left_out: Sequence[float] | NDArray[np.float64], level: float = 0.95
) -> tuple[float, float]:
    """Jackknife interval around a `value`, from the leave-one-out values of `delete_one`.

    The delete-one-block jackknife: spread of the values with one block left out, a t quantile with
    blocks - 1 degrees of freedom. For a difference of two statistics, take the differences of both,
    from the same blocks. A bootstrap over images repeats some of them, which moves a Frechet
    distance so far that its interval misses the estimate.
    """
    from scipy.stats import t

    count = len(left_out)
    spread = np.asarray(left_out) - np.mean(left_out)
    error = np.sqrt((count - 1) / count * (spread**2).sum())
    half = float(t.ppf((1 + level) / 2, count - 1) * error)
    return value - half, value + half


def bias_corrected(value: float, left_out: Sequence[float] | NDArray[np.float64]) -> float:
    """What a statistic tends to with more images, by the jackknife (Quenouille 1956).

    B value - (B - 1) mean(`left_out`) of B blocks takes away the bias of order 1/n. Of a Frechet
    distance this is most of it, and it does not cancel in the difference of two sets of as many
    images whose spreads differ. Interval: `jackknife` around it.
    """
    blocks = len(left_out)
    return float(blocks * value - (blocks - 1) * np.mean(left_out))


def _left_out(statistic: Statistic[Any], states: Sequence[Any]) -> Iterator[float | Undefined]:
    """Values without each state in turn, from sums of those before and after it."""
    before = [None, *accumulate(states[:-1])]
    after = [*list(accumulate(states[:0:-1]))[::-1], None]
    for left, right in zip(before, after, strict=True):
        rest = right if left is None else left if right is None else left + right
        yield statistic.value(rest)
