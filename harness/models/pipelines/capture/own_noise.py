"""How our noise becomes a pipeline's first state: as `latents`, or in place of what it draws."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch

from harness.core.errors import HarnessError
from harness.models.pipelines.capture.watch import replaced

FirstState = Callable[[dict[str, Any]], torch.Tensor]
"""The pipeline's first state [1, ...], of a call with these arguments more."""


@dataclass(frozen=True)
class Arrangement:
    """The shape [1, ...] that a pipeline has noise in, and which of its numbers each number of the
    state is (None: the same)."""

    shape: tuple[int, ...]
    order: torch.Tensor | None

    def arranged(self, noise: torch.Tensor) -> torch.Tensor:
        """Noise in the state's arrangement [1, ...] as the pipeline has it."""
        flat = noise.flatten()
        if self.order is not None:
            flat = torch.empty_like(flat).index_copy_(0, self.order.to(flat.device), flat)
        return flat.reshape(self.shape)


@dataclass(frozen=True)
class OwnNoise:
    """How a pipeline has noise: as it draws it, and as its `latents`; None where it does not."""

    drawn: Arrangement | None
    latents: Arrangement | None


def find_noise(pipeline: Any, first_state: FirstState, takes_latents: bool) -> OwnNoise:
    """How a pipeline takes noise; HarnessError where its first state is no noise of ours."""
    shapes: list[tuple[int, ...]] = []
    with drawing(pipeline, lambda shape: _numbered(_kept(shapes, shape))):
        state = first_state({})
    drawn = None
    if len(shapes) == 1 and (order := _order(state)) is not False:
        drawn = Arrangement(shapes[0], order)
    latents = _as_latents(state, shapes, first_state) if takes_latents else None
    if drawn is None and latents is None:
        raise HarnessError(
            f"{type(pipeline).__name__} does not begin with one noise that can be given to it"
        )
    return OwnNoise(drawn, latents)


def _as_latents(
    state: torch.Tensor, shapes: list[tuple[int, ...]], first_state: FirstState
) -> Arrangement | None:
    """Noise given as `latents`: of the state's own shape, or of what is drawn."""
    for shape in (tuple(state.shape), *shapes):
        if prod(shape) != state.numel():
            continue
        try:
            found = first_state({"latents": _numbered(shape)})
        except HarnessError:
            continue
        if found.shape == state.shape and (order := _order(found)) is not False:
            return Arrangement(shape, order)
    return None


def _kept(drawn: list[tuple[int, ...]], shape: tuple[int, ...]) -> tuple[int, ...]:
    drawn.append(shape)
    return shape


def _numbered(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.arange(1, prod(shape) + 1, dtype=torch.float32).reshape(shape)


def _order(state: torch.Tensor) -> torch.Tensor | Literal[False] | None:
    """Where the state's numbers stood in `_numbered` noise; None: in place. False for a state that
    is no multiple of them."""
    flat = state[:1].double().flatten()
    places = (flat * (len(flat) / flat.max())).round().long() - 1
    every = torch.arange(len(flat))
    if not torch.equal(places.sort().values, every):
        return False
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
    the arguments that its call takes more.

    In place of what it draws where possible: it then has the precision that the pipeline wants.
    """
    if own.drawn is None:
        assert own.latents is not None
        yield {"latents": own.latents.arranged(noise)}
        return
    arranged = own.drawn.arranged(noise)
    with drawing(pipeline, lambda shape: arranged):
        yield {}
