"""How a candidate was judged against the whole guidance curve of a baseline."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

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


def prompt_texts(pairs: pd.DataFrame) -> dict[str, str]:
    """The prompts' texts by id, of PAIRS; the id itself where there is none."""
    known = pairs.drop_duplicates("prompt_id").set_index("prompt_id")["prompt"]
    texts = known.where(known.fillna("") != "", known.index.to_series())
    return {str(name): str(text) for name, text in texts.items()}


def halves(texts: Mapping[str, str]) -> dict[str, int]:
    """The half, 0 or 1, of each prompt by id: the lower and the upper half of their texts' hashes.

    Equal in size (the first has one more of an odd number), and a function of the texts alone. The
    hashes are of this purpose: prompt sets and splits are chosen by those of plain texts and ids.
    """

    def place(name: str) -> tuple[str, str]:
        return hashlib.sha256(f"{GUIDANCE_CURVE}: {texts[name]}".encode()).hexdigest(), name

    ranked = sorted(texts, key=place)
    return {name: int(2 * at > len(ranked) - 1) for at, name in enumerate(ranked)}


def judged_weights(pairs: pd.DataFrame, picked: tuple[str, str]) -> pd.Series:
    """The baseline of the curve that each of PAIRS is judged against: what the other half picked.

    `picked` are the choices of the first and of the second half.
    """
    half = pairs["prompt_id"].map(halves(prompt_texts(pairs)))
    return half.map({0: picked[1], 1: picked[0]})
