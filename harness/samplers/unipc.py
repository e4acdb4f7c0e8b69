"""UniPC: a multistep predictor whose state each new evaluation corrects, at no extra cost."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch

from harness.samplers.base import Denoise, Noise, sampler


@sampler(
    "unipc",
    title="UniPC",
    paper="Zhao et al. 2023, UniPC: A Unified Predictor-Corrector Framework, arXiv:2302.04867",
)
def unipc(
    denoise: Denoise,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    noise: Noise,
    *,
    guidance: float = 5.0,
) -> torch.Tensor:
    """The multistep form in data prediction, of order 2, with B(h) = e^h - 1 ("bh2").

    The corrector begins at the second step and has the order of the prediction that it corrects;
    the first and the last prediction are of first order.
    """
    last = len(sigmas) - 2
    began, step = x, None  # the step that led here, and its state before it
    for i, (s, t) in enumerate(pairwise(sigmas)):
        found = denoise(x, s, guidance=guidance)
        h, r, trend = (s / t).log(), None, None
        if step is not None:
            x = _advance(began, step.h, step.target + _correction(step, found - step.target))
            if i < last:
                r = step.h / h
                trend = (found - step.target) / r
        began, step = x, _Step(h, found, r, trend)
        x = _advance(x, h, found if trend is None else found + trend / 2)
    return x


class _Step(NamedTuple):
    """Its length h = log(s / t), the estimate of x0 at its start, and the estimate's change over h
    as the step before shows it, r times as long; None in steps of first order."""

    h: torch.Tensor
    target: torch.Tensor
    r: torch.Tensor | None
    trend: torch.Tensor | None


def _advance(x: torch.Tensor, h: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """From x over h, exactly for an estimate of x0 that stays at `target`."""
    return torch.exp(-h) * x - torch.expm1(-h) * target


def _correction(step: _Step, change: torch.Tensor) -> torch.Tensor:
    """What to add to a step's target once the estimate is known to have changed by `change`.

    The paper's weights for one point (`change`), or for two (`change` and the step's `trend`).
    """
    h, r, trend = step.h, step.r, step.trend
    if r is None or trend is None:
        return change / 2
    growth = torch.expm1(-h)
    phi2 = -growth / h - 1
    phi3 = -phi2 / h - 0.5
    b1, b2 = phi2 / growth, 2 * phi3 / growth
    weight = (b1 - b2) / (1 + r)
    return weight * trend + (b1 - weight) * change
