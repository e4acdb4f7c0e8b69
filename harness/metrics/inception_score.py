"""The Inception score: a statistic over Inception features, and the metric."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.metrics import USUAL, Encoder, FeatureRows, SetMetric, Statistic, Undefined, metric
from harness.metrics.inception import CLASSES, INCEPTION, WEIGHTS_LICENCE, InceptionTensorflow

_SEED = 2020


@dataclass(frozen=True)
class ClassDivergence:
    """Mean over `splits` parts of exp(mean KL(p(class | image) || p(class of the part))).

    `head` [F, C]: from features to logits. The images are shuffled (RandomState(2020)) before they
    are split, since runs are ordered by prompt or class; with fewer splits the score is larger.
    """

    head: NDArray[Any]
    splits: int

    def gather(self, features: NDArray[Any]) -> FeatureRows:
        """Log probabilities [n, C], float64."""
        logits = (features @ self.head).astype(np.float64)
        logits -= logits.max(1, keepdims=True)
        return FeatureRows.of(logits - np.log(np.exp(logits).sum(1, keepdims=True)))

    def value(self, state: FeatureRows) -> float | Undefined:
        n = state.n
        if self.splits < 1 or n < self.splits:
            return Undefined(f"{n} images cannot be divided into {self.splits} splits")
        order = np.random.RandomState(_SEED).permutation(n)
        ends = [i * n // self.splits for i in range(self.splits + 1)]
        return float(np.mean([_score(state.array[order[a:b]]) for a, b in pairwise(ends)]))


def _score(logs: NDArray[np.float64]) -> float:
    p = np.exp(logs)
    divergence = (p * (logs - np.log(p.mean(0)))).sum(1)
    return float(np.exp(divergence.mean()))


@metric(
    "inception-score",
    title="Inception score",
    direction="higher",
    range=(1, CLASSES),
    model=f"{INCEPTION}, resized as TensorFlow does",
    paper="Salimans et al. 2016, arXiv:1606.03498",
    licence=WEIGHTS_LICENCE,
)
@dataclass
class InceptionScore(SetMetric):
    """Inception score: mean over `splits` shuffled parts of exp(KL of classes given an image).

    Logits without the bias, ten splits, shuffled with seed 2020: the convention of the original
    code and of torch-fidelity. Needs no reference. `checkpoint` as of fid.
    """

    splits: int = 10
    checkpoint: str = ""
    enough = USUAL

    def build_encoder(self) -> Encoder:
        return InceptionTensorflow(self.checkpoint)

    def statistic(self) -> Statistic[Any]:
        self.features.check()
        return ClassDivergence(_head(self.checkpoint), self.splits)


@lru_cache(maxsize=2)
def _head(checkpoint: str) -> NDArray[np.float32]:
    return InceptionTensorflow(checkpoint).head()
