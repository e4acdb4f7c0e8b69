"""Metrics of torchmetrics that judge a whole set: FID, KID, IS, MiFID.

Their features are stored once, by their own network or one of our encoders; the number is what
their own update and compute give for those features.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import first_line
from harness.metrics.base import USUAL, SetMetric
from harness.metrics.encoders import Configured, Encoder, make_encoder, parameters
from harness.metrics.library_parts import build, digest_of, one_number
from harness.metrics.references import ReferenceMetric
from harness.metrics.set_statistics import FeatureRows, Reference, Statistic
from harness.metrics.transfer import to_device
from harness.metrics.undefined import Undefined

if TYPE_CHECKING:
    import torch

_OF_NETWORK = ("feature_extractor_weights_path", "antialias")
_SMOOTH = ("FrechetInceptionDistance",)
"""Whose value is a smooth function of the images; others draw subsets, split, or cut off."""


class LibrarySettings(Configured):
    """The options of a metric of torchmetrics, which are the fields of its class."""

    library: ClassVar[Any]

    @property
    def label(self) -> str:
        return super().label.replace(":", "-")

    @property
    def settings(self) -> dict[str, Any]:
        """The options that a user set, without those of the harness."""
        return {key: value for key, value in self.call.params.items() if key != "reference"}


@dataclass
class LibraryNetwork(Encoder):
    """The network of one of torchmetrics' metrics of sets, by its options (as JSON)."""

    library: str
    options: str

    name = "torchmetrics-network"

    @cached_property
    def network(self) -> Any:
        """The module; HarnessError where its weights are missing."""
        import torchmetrics.image

        return build(vars(torchmetrics.image)[self.library], json.loads(self.options)).inception

    def check(self) -> None:
        assert self.network is not None

    def weights(self) -> str:
        return digest_of(self.network)

    def setup(self, device: str) -> None:
        import torch

        self.network.to(device)
        self.device = device
        with torch.inference_mode():
            self.width = self.encode(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).shape[1]

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(to_device(images, self.device)).flatten(1).float()
        return found


@dataclass(frozen=True, eq=False)
class LibraryStatistic:
    """A metric's value for features, by its own update and compute; `reference` has the real ones.

    Whatever it draws is drawn with seed 0.
    """

    library: Any
    options: dict[str, Any]
    reference: Reference | None

    def gather(self, features: NDArray[Any]) -> FeatureRows:
        return FeatureRows.of(self.reference.accept(features) if self.reference else features)

    def value(self, state: FeatureRows) -> float | Undefined:
        import torch

        name = self.library.__name__
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            try:
                metric = self._metric(state.array.shape[1])
                own = torch.from_numpy(np.ascontiguousarray(state.array, np.float32))
                if self.reference is None:
                    metric.update(own)
                else:
                    metric.update(own, real=False)
                return float(one_number(metric.compute(), name))
            except (ValueError, RuntimeError, IndexError) as error:
                return Undefined(f"torchmetrics' {name}: {first_line(error)}")

    def left_out(self, states: Sequence[FeatureRows]) -> list[float | Undefined] | Undefined:
        if self.library.__name__ not in _SMOOTH:
            return Undefined(
                f"no interval: {self.library.__name__} draws subsets, splits or cuts off, so that "
                "leaving images out does not tell its spread"
            )
        return [
            self.value(reduce(add, [*states[:at], *states[at + 1 :]])) for at in range(len(states))
        ]

    def _metric(self, width: int) -> Any:
        """The metric with features for pictures, and the real ones seen."""
        import torch

        passed: Any = torch.nn.Identity()
        passed.num_features = width
        made = self.library(feature=passed, **self.options, sync_on_compute=False)
        if self.reference is not None:
            made.update(torch.from_numpy(np.asarray(self.reference.rows, np.float32)), real=True)
        return made


class LibrarySet(LibrarySettings, SetMetric):
    """A metric of torchmetrics of one set, such as IS."""

    feature: Any

    def build_encoder(self) -> Encoder:
        feature, known = self.feature, parameters(type(self))["feature"]
        if isinstance(feature, str) and feature != known:
            return make_encoder(feature)
        own = {k: v for k, v in self.settings.items() if k in _OF_NETWORK}
        options = json.dumps({"feature": feature, **own}, sort_keys=True)
        return LibraryNetwork(self.library.__name__, options)

    @property
    def options(self) -> dict[str, Any]:
        """The options of what is computed from features."""
        return {k: v for k, v in self.settings.items() if k not in ("feature", *_OF_NETWORK)}

    def statistic(self) -> Statistic[Any]:
        return LibraryStatistic(self.library, self.options, None)


class LibraryReferenceSet(LibrarySet, ReferenceMetric):
    """A metric of torchmetrics of a set and real pictures, such as FID and KID."""

    keeps_features = True
    enough = USUAL

    def statistic(self) -> Statistic[Any]:
        return LibraryStatistic(self.library, self.options, self.target())
