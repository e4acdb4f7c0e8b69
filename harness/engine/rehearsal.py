"""Dry run of a sampler without a network: its ladder, number of evaluations, and errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TypeVar

import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.objects import ObjectRequest
from harness.engine.batch import parts_of, variants_of
from harness.engine.branches import Conditioned
from harness.engine.denoiser import Denoiser
from harness.engine.needs import apply
from harness.models.base import Condition, Ladders
from harness.samplers.base import SAMPLERS, Noise, Targets


def rehearse(
    ladders: Ladders, call: Call, *, unconditional: bool = True, guided: bool = False
) -> tuple[torch.Tensor, dict[tuple[str, str], int]]:
    """A sampler's ladder [N+1] and its evaluations per sample, without a network.

    `unconditional`: the model has that branch; `guided`: there is a second network to guide by.
    Raises HarnessError for parameters that do not fit the ladder, so it is also the check before
    weights are loaded.
    """
    denoise, sigmas, _ = rehearsed(
        Denoiser, ladders, call, unconditional=unconditional, guided=guided
    )
    return sigmas, {key: int(count[0]) for key, count in denoise.evaluations.items()}


D = TypeVar("D", bound=Denoiser)


def rehearsed(
    kind: type[D],
    ladders: Ladders,
    call: Call,
    width: int = 1,
    *,
    unconditional: bool = True,
    guided: bool = False,
    noise: Noise | None = None,
) -> tuple[D, torch.Tensor, torch.Tensor]:
    """Run a sampler on a `kind` of denoiser without a network, in float64: the denoiser, the ladder
    and what the sampler returns. It begins at zeros [1, width, 2, 2], or with `noise` at its first
    draw [B, width, 2, 2] times the ladder's first level."""
    if SAMPLERS.get(call.name).whole:
        raise HarnessError(
            f"{call.name} is a function of a pipeline: there is no dry run of it, and its ladder "
            "is its own"
        )
    sigmas, policy, own = parts_of(ladders, call)
    x = torch.zeros(1, width, 2, 2, dtype=torch.float64)
    if noise is not None:
        x = sigmas[0] * noise().to(x)
    row = {"row": torch.zeros(len(x))}
    stub = Conditioned(_Stub(), row, row if unconditional else None)
    others = dict.fromkeys(variants_of(call), stub)
    guide = stub if guided else None
    denoise = kind(stub.network, row, stub.negative, policy, others, guide)
    start = x, sigmas, noise or _Silence(x)
    sampler = SAMPLERS.get(call.name)
    return denoise, sigmas, apply(sampler, denoise, start, own, ladders, _rehearsed_targets)


class _Silence:
    """Noise of zeros."""

    def __init__(self, like: torch.Tensor) -> None:
        self._like = like

    def __call__(self, shape: Sequence[int] | None = None) -> torch.Tensor:
        return torch.zeros_like(self._like) if shape is None else torch.zeros(1, *shape)

    def skip(self) -> None:
        pass


class _Stub:
    """A network whose output is zero."""

    name = "this model"

    def perturbed(self, layers: tuple[str, ...]) -> _Stub:
        return self

    def altered(self, change: object) -> _Stub:
        return self

    def network(
        self, x: torch.Tensor, sigma: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        return torch.zeros_like(x)

    def denoised(self, x: torch.Tensor, sigma: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        return output

    @contextmanager
    def attention_maps(self, size: tuple[int, int], rows: slice) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(mean=torch.ones(1, 1, 2, 2))


def _rehearsed_targets(request: ObjectRequest) -> Targets:
    """As many objects as there are strengths, whatever the prompts."""
    strengths = torch.tensor(request.strength or 0.0).reshape(1, -1)
    return Targets(torch.ones(1, strengths.shape[1], 1), strengths, float(strengths.max()))
