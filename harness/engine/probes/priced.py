"""Networks of which each kind of evaluation is computed once, to count what all of them cost."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.flop_counter import FlopCounterMode

from harness.engine.probes.unweighted import NeedsWeights, unweighted
from harness.models.base import Condition, Network

log = logging.getLogger(__name__)

META = torch.device("meta")

Kinds = dict[Hashable, tuple[int, torch.Tensor]]
"""By the shapes of an evaluation's arguments: its operations, and a tensor like its output."""


@dataclass
class Meter:
    """The operations of all evaluations, and those `computed` without weights."""

    total: int = 0
    computed: int = 0

    def compute(self, operations: int) -> None:
        self.computed += operations


class PricedNetwork:
    """A network with states and outputs on the device "meta": they have no values to look at.

    An evaluation of a new kind is computed on zeros, without weights where that is possible, and
    noted in `kinds`; each is added to the `meter`.
    """

    device = META
    condition_device = torch.device("cpu")

    def __init__(self, model: Any, kinds: Kinds, meter: Meter) -> None:
        self._model = self._own = model
        self._kinds, self._meter = kinds, meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    @property
    def perturbed(self) -> Any:
        return self._changing("perturbed")

    @property
    def altered(self) -> Any:
        return self._changing("altered")

    def _changing(self, name: str) -> Any:
        """A method that gives a changed network, whose evaluations are kinds of their own.

        AttributeError where the network has none.
        """
        change = getattr(self._own, name)

        def changed(how: Any) -> PricedNetwork:
            other = PricedNetwork(self._model, {}, self._meter)
            other._own = change(how)
            other._light = self._light and getattr(self._light, name)(how)
            return other

        return changed

    def variants(self, settings: Mapping[str, Any]) -> dict[str, PricedNetwork]:
        """Merged weights cost as much as the network's own."""
        return dict.fromkeys(settings, self)

    def start(self, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return torch.empty(noise.shape, dtype=self._model.state_dtype, device=META)

    def native(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return x

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        kind = (x.shape, x.dtype, sigma.shape, time.shape, tuple(_shown(condition)))
        if kind not in self._kinds:
            self._kinds[kind] = self._computed(x, sigma, time, condition)
        operations, like = self._kinds[kind]
        self._meter.total += operations
        return torch.empty_like(like)

    @cached_property
    def _light(self) -> Any:
        return unweighted(self._model, self._meter.compute)

    def _computed(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> tuple[int, torch.Tensor]:
        """Operations of one evaluation, and a tensor like its output on "meta"."""
        device = self._model.device
        levels = (_some(sigma, device), _some(time, device))
        held = getattr(self._model, "condition_device", device)
        given = {key: value.to(held) for key, value in condition.items()}
        arguments = (_some(x, device), *levels, given)
        try:
            if self._light is not None:
                return self._counted(self._light, arguments)
        except NeedsWeights as error:
            log.debug("%s is evaluated to count its operations: %s", self._own.name, error)
        return self._counted(self._own, arguments)

    def _counted(self, network: Network, arguments: Any) -> tuple[int, torch.Tensor]:
        before = self._meter.computed
        with _disable_current_modes(), FlopCounterMode(display=False) as counter:
            output = network.network(*arguments)
        return counter.get_total_flops() + self._meter.computed - before, output.to(META)


def _some(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Ones in place of values on "meta"."""
    if values.device != META:
        return values
    return torch.ones(values.shape, dtype=values.dtype, device=device)


def _shown(condition: Condition) -> Iterable[Hashable]:
    """What an evaluation's cost may depend on: shapes, and numbers of classes or of prompts."""
    for key, value in condition.items():
        numbers = value.ndim == 1 and not value.is_floating_point()
        yield key, value.dtype, tuple(value.tolist()) if numbers else value.shape
