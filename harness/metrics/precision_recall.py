"""Precision, recall, density and coverage of a reference's features."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

from harness.metrics import neighbours
from harness.metrics.base import Encoder, metric
from harness.metrics.encoders import make_encoder
from harness.metrics.referred import INCEPTION, USUAL, WEIGHTS_LICENCE, Referred
from harness.metrics.set_statistics import Statistic


@dataclass
class _Neighbours(Referred):
    """A share of images or references within the k-nearest-neighbour balls of the others."""

    reference: str = ""
    net: str = "inception-tf"
    k: int = 5
    keeps_features = True
    enough = USUAL

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
        return neighbours.Precision(self.referred(), self.k)


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
        return neighbours.Recall(self.referred(), self.k)


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
        return neighbours.Density(self.referred(), self.k)


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
        return neighbours.Coverage(self.referred(), self.k)
