"""A baseline at another sampler's cost."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping

import torch

from harness.errors import HarnessError
from harness.samplers.base import SAMPLERS
from harness.spec import Call

DryRun = Callable[[Call], tuple[torch.Tensor, Mapping[tuple[str, str], int]]]
"""A resolved sampler's ladder and evaluations on one model; see `sampling.rehearse`."""

_MOST_STEPS = 999


def match_cost(dry_run: DryRun, call: Call, sigmas: torch.Tensor, nfe: int) -> Call:
    """`call` with the fewest steps that cost at least `nfe` evaluations an image, from the first
    sigma of `sigmas` to its last.

    Raises HarnessError where no ladder of the model has so many steps, or none keeps both ends.
    """

    call = _interval_in_sigma(dry_run, call)

    def cost(steps: int) -> int:
        try:
            _, evaluations = dry_run(_with(call, steps=steps))
        except HarnessError:
            if steps >= call.params["steps"]:
                raise
            return 0  # too few for what was asked, a guidance interval perhaps
        return sum(evaluations.values())

    enough = 1  # long dry runs take time: look among few steps first
    while enough < _MOST_STEPS and cost(enough) < nfe:
        enough = min(2 * enough, _MOST_STEPS)
    steps = bisect_left(range(1, enough + 1), nfe, key=cost) + 1
    if steps > _MOST_STEPS:
        raise HarnessError(
            f"{call.name} needs more than {_MOST_STEPS} steps to cost {nfe} evaluations an image"
        )
    matched = _with(call, steps=steps)
    if not _same_ends(dry_run(matched)[0], sigmas):
        if "sigma_max" not in SAMPLERS.get(call.name).parameters:
            raise HarnessError(f"{call.name} cannot be told where its ladder begins")
        matched = _with(matched, sigma_max=float(sigmas[0]))
    ladder, evaluations = dry_run(matched)
    if not _same_ends(ladder, sigmas) or sum(evaluations.values()) < nfe:
        raise HarnessError(
            f"no {call.name} of at least {nfe} evaluations steps from sigma "
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


def _with(call: Call, **changes: float) -> Call:
    return Call(call.name, {**call.params, **changes})


def _same_ends(one: torch.Tensor, other: torch.Tensor) -> bool:
    return all(
        abs(float(a) - float(b)) <= 1e-9 * float(b)
        for a, b in ((one[0], other[0]), (one[-1], other[-1]))
    )
