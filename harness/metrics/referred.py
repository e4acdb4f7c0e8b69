"""What set metrics against reference statistics have in common."""

from __future__ import annotations

from typing import ClassVar

from harness.metrics.base import SetMetric
from harness.metrics.frechet import Reference
from harness.metrics.references import check_weights, find_reference

USUAL = 10_000
"""Fewer images than this, and a distance is far from what papers report (of 50,000)."""

INCEPTION = "Inception-v3 of 2015-12-05, 2048 features"
WEIGHTS_LICENCE = "Apache-2.0 (weights)"


class Referred(SetMetric):
    """A set metric against reference statistics, `reference`: a name or a file."""

    reference: str
    keeps_features: ClassVar[bool] = False
    """Whether it needs the reference's features, not only their mean and covariance."""

    def referred(self) -> Reference:
        return find_reference(
            self.name, self.reference, self.features, features=self.keeps_features
        )

    def check(self) -> None:
        reference = self.referred()  # before weights are downloaded for nothing
        self.features.check()
        check_weights(self.reference, reference, self.features)
