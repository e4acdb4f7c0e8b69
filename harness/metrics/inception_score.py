"""The Inception score as a statistic over Inception features."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.metrics.base import Undefined
from harness.metrics.statistics import Rows

_SEED = 2020


@dataclass(frozen=True)
class Diversity:
    """Mean over `splits` parts of exp(mean KL(p(class | image) || p(class of the part))).

    `head` [F, C]: from features to logits. The images are shuffled (RandomState(2020)) before they
    are split, since runs are ordered by prompt or class; with fewer splits the score is larger.
    """

    head: NDArray[Any]
    splits: int

    def gather(self, features: NDArray[Any]) -> Rows:
        """Log probabilities [n, C], float64."""
        logits = (features @ self.head).astype(np.float64)
        logits -= logits.max(1, keepdims=True)
        return Rows.of(logits - np.log(np.exp(logits).sum(1, keepdims=True)))

    def value(self, state: Rows) -> float | Undefined:
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
