"""How a candidate was judged against the whole guidance curve of a baseline."""

from __future__ import annotations

from dataclasses import dataclass

GUIDANCE_CURVE = "guidance curve"
"""The comparison with a baseline at its best guidance and the candidate's cost, by name."""


@dataclass(frozen=True)
class CurveRule:
    """The rule on one metric, and the baselines of the curve ("guidance 5.5") by what they did.

    `crossed`: the guidance was picked on one half of the prompts and judged on the other, both
    ways; else the candidate has to beat every one of the `weights` baselines. `against` are those
    that the winning rate is over: one picked by each half, or that of the smallest rate. `beaten`
    are those that it beats, each for itself; `lost` those that beat it, by Holm over all.
    """

    metric: str
    crossed: bool
    weights: int
    against: list[str]
    beaten: list[str]
    lost: list[str]
