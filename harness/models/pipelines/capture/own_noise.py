"""How our noise becomes a pipeline's first state: as `latents`, or in place of what it draws."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from harness.core.errors import HarnessError
from harness.models.pipelines.capture.watch import replaced

FirstState = Callable[[dict[str, Any]], torch.Tensor]
"""The pipeline's first state [1, ...], of a call with these arguments more."""


@dataclass(frozen=True)
class OwnNoise:
    """The shape [1, ...] that the pipeline takes noise in, as `latents` where `given`; and `order`,
    which of its numbers each number of the state is (None: the same)."""

    shape: tuple[int, ...]
    given: bool
    order: torch.Tensor | None

    def arranged(self, noise: torch.Tensor) -> torch.Tensor:
        """Noise in the state's arrangement [1, ...] as the pipeline takes it."""
        flat = noise.flatten()
        if self.order is not None:
            flat = torch.empty_like(flat).index_copy_(0, self.order.to(flat.device), flat)
        return flat.reshape(self.shape)


def find_noise(pipeline: Any, first_state: FirstState, takes_latents: bool) -> OwnNoise:
    """How a pipeline takes noise; HarnessError where its first state is no noise of ours."""
    drawn: list[tuple[int, ...]] = []
    with drawing(pipeline, lambda shape: _numbered(_kept(drawn, shape))):
        state = first_state({})
    if not takes_latents:
        if len(drawn) != 1:
            raise HarnessError(
                f"{type(pipeline).__name__} takes no latents and draws {len(drawn)} noises: ours "
                "cannot be given to it"
            )
        return OwnNoise(drawn[0], False, _order(pipeline, state))
    for shape in (tuple(state.shape), *drawn):
        if prod(shape) != state.numel():
            continue
        try:
            found = first_state({"latents": _numbered(shape)})
        except HarnessError:
            continue
        if found.shape == state.shape:
            return OwnNoise(shape, True, _order(pipeline, found))
    raise HarnessError(f"{type(pipeline).__name__} takes latents of no shape of its own states")


def _kept(drawn: list[tuple[int, ...]], shape: tuple[int, ...]) -> tuple[int, ...]:
    drawn.append(shape)
    return shape


def _numbered(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.arange(1, prod(shape) + 1, dtype=torch.float32).reshape(shape)


def _order(pipeline: Any, state: torch.Tensor) -> torch.Tensor | None:
    flat = state[:1].double().flatten()
    places = (flat * (len(flat) / flat.max())).round().long() - 1
    every = torch.arange(len(flat))
    if not torch.equal(places.sort().values, every):
        raise HarnessError(f"{type(pipeline).__name__} does not begin with the noise it is given")
    return None if torch.equal(places, every) else places


@contextmanager
def drawing(pipeline: Any, draw: Callable[[tuple[int, ...]], torch.Tensor]) -> Iterator[None]:
    """While open, the pipeline draws `draw(shape)` for unit noise."""

    def drawn(shape: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        dtype = kwargs.get("dtype") or torch.float32
        return draw(tuple(shape)).to(kwargs.get("device") or "cpu", dtype)

    homes = [sys.modules[kind.__module__] for kind in type(pipeline).__mro__]
    home = next((one for one in homes if hasattr(one, "randn_tensor")), None)
    if home is None:
        yield
        return
    with replaced(home, "randn_tensor", drawn):
        yield


@contextmanager
def our_noise(pipeline: Any, own: OwnNoise, noise: torch.Tensor) -> Iterator[dict[str, Any]]:
    """While open, the pipeline begins with this noise, in the state's arrangement [1, ...]; yields
    the arguments that its call takes more."""
    arranged = own.arranged(noise)
    if own.given:
        yield {"latents": arranged}
        return
    with drawing(pipeline, lambda shape: arranged):
        yield {}
