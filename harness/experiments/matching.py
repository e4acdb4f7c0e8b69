"""Parameters that bring a baseline to another sampler's cost, and to its guidance."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.samplers.base import SAMPLERS

DryRun = Callable[[Call], tuple[torch.Tensor, Mapping[tuple[str, str], int]]]
"""A resolved sampler's ladder and evaluations on one model; see `engine.rehearsal.rehearse`."""

_MOST_STEPS = 999
_ROUNDING = 1e-9  # of measured costs


@dataclass(frozen=True)
class Price:
    """The cost of an evaluation in some unit: of the main network, and of the guide."""

    evaluation: float = 1.0
    guide: float = 1.0

    def of(self, evaluations: Mapping[tuple[str, str], int]) -> float:
        """The price of evaluations by (network, branch)."""
        return sum(
            count * (self.guide if network == "guide" else self.evaluation)
            for (network, _), count in evaluations.items()
        )


def match_cost(
    dry_run: DryRun,
    call: Call,
    sigmas: torch.Tensor | None,
    least: float,
    price: Price | None = None,
) -> Call:
    """`call` with the fewest steps that cost at least `least` an image, from the first sigma of
    `sigmas` to its last (None: those of its own ladder); in evaluations, unless there is a `price`
    of each.

    Raises HarnessError where no ladder of the model has so many steps, or none keeps both ends.
    """

    call, price = _interval_in_sigma(dry_run, call), price or Price()
    enough_cost = least * (1 - _ROUNDING)

    def cost(steps: int) -> float:
        try:
            _, evaluations = dry_run(with_parameters(call, steps=steps))
        except HarnessError:
            if steps >= call.params["steps"]:
                raise
            return 0.0  # too few for what was asked, a guidance interval perhaps
        return price.of(evaluations)

    enough = 1  # long dry runs take time: look among few steps first
    while enough < _MOST_STEPS and cost(enough) < enough_cost:
        enough = min(2 * enough, _MOST_STEPS)
    steps = bisect_left(range(1, enough + 1), enough_cost, key=cost) + 1
    if steps > _MOST_STEPS:
        raise HarnessError(
            f"{call.name} needs more than {_MOST_STEPS} steps to cost as much, {least:g} an image"
        )
    matched = with_parameters(call, steps=steps)
    if sigmas is None:
        return matched
    if not _same_ends(dry_run(matched)[0], sigmas):
        if "sigma_max" not in SAMPLERS.get(call.name).ladder:
            raise HarnessError(f"{call.name} cannot be told where its ladder begins")
        matched = with_parameters(matched, sigma_max=float(sigmas[0]))
    ladder, evaluations = dry_run(matched)
    if not _same_ends(ladder, sigmas) or price.of(evaluations) < enough_cost:
        raise HarnessError(
            f"no {call.name} of the same cost, {least:g} an image, steps from sigma "
            f"{float(sigmas[0]):.6g} to {float(sigmas[-1]):.6g}: its ladder's own limits forbid it"
        )
    return matched


def _interval_in_sigma(dry_run: DryRun, call: Call) -> Call:
    """Step indices as sigmas: with other steps, the same indices are other levels."""
    if "interval_steps" not in call.params:
        return call
    first, last = call.params["interval_steps"]
    sigmas, _ = dry_run(call)
    params = {key: value for key, value in call.params.items() if key != "interval_steps"}
    return Call(call.name, {**params, "interval": [float(sigmas[last + 1]), float(sigmas[first])]})


def match_guidance(
    call: Call, scale: float, curve: Sequence[tuple[float, float]] | None = None
) -> Call:
    """`call` with another guidance scale, in four digits; HarnessError where it takes none.

    With a `curve`, sigmas and scales from the highest sigma on, it follows that about its mean.
    """
    if "guidance" not in call.params:
        raise HarnessError(f"{call.name} has no parameter guidance to be set to {scale:.4g}")
    matched = with_parameters(call, guidance=float(f"{scale:.4g}"))
    if curve is None or not any(w for _, w in curve):
        return matched
    if not scale:
        raise HarnessError("a guidance schedule of mean 0 cannot be followed: match the mean alone")
    factors = [[float(f"{sigma:.6g}"), float(f"{w / scale:.4g}")] for sigma, w in curve]
    return with_parameters(matched, guidance_schedule=factors)


def with_parameters(call: Call, **changes: Any) -> Call:
    """`call` with other values of some parameters."""
    return Call(call.name, {**call.params, **changes})


def _same_ends(one: torch.Tensor, other: torch.Tensor) -> bool:
    return all(
        abs(float(a) - float(b)) <= 1e-9 * float(b)
        for a, b in ((one[0], other[0]), (one[-1], other[-1]))
    )
