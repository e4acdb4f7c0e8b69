"""Three pairs of pictures of one comparison: its largest win, a tie, its largest loss."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harness.core.outcome import LOSS, TIE, WIN
from harness.reporting import words
from harness.reporting.shown_pairs import ShownPairs
from harness.reporting.viewer import advantages, pictures, sides
from harness.store.comparison_tables import CANDIDATE

_LONGEST = 110  # characters of a prompt
_PIXELS = 128  # at most so many are shown as they are


@dataclass(frozen=True)
class Side:
    """A picture (a data URL, null where there is none) with its sampler's name and its score."""

    name: str
    score: str
    address: str | None


@dataclass(frozen=True)
class Example:
    """A pair: of what `kind`, its prompt and seed, and its sides; no sides, no such pair."""

    kind: str
    verdict: str
    prompt: str = ""
    where: str = ""
    sides: tuple[Side, ...] = ()
    pixels: bool = False


def three_pairs(shown: ShownPairs) -> list[Example]:
    """The examples of the comparison that `shown` opens at, on the first metric, in this order.

    Of equal pairs the first in the order of prompts is taken, of ties, too; pairs with a failed
    picture are passed over. None where the runs' pictures are gone.
    """
    metric = shown.tables.metrics[0]
    more = ["prompt", "seed", "a_failed", "b_failed"]
    frame = advantages(shown.tables, metric, shown.opens, more)
    frame = frame[frame["a_failed"].isna() & frame["b_failed"].isna()]
    found = {
        ("largest win", "wins"): _first(frame, WIN, False),
        ("a tie", "undecided"): _first(frame, TIE, None),
        ("largest loss", "loses"): _first(frame, LOSS, True),
    }
    rows = [row for row in found.values() if row is not None]
    images = pictures(shown, sides(shown.tables, [str(row["item_id"]) for row in rows]))
    examples = [
        Example(*kind) if row is None else _example(shown, kind, row, images)
        for kind, row in found.items()
    ]
    some = any(side.address for example in examples for side in example.sides)
    return examples if some else []


def _first(frame: pd.DataFrame, outcome: float, ascending: bool | None) -> pd.Series | None:
    """The first pair of an outcome, by the candidate's advantage unless that is null."""
    kept = frame[frame["outcome"] == outcome]
    if ascending is not None:
        kept = kept.sort_values("advantage", ascending=ascending, kind="stable")
    return None if kept.empty else kept.iloc[0]


def _example(
    shown: ShownPairs,
    kind: tuple[str, str],
    row: pd.Series,
    images: dict[str, dict[str, str | None]],
) -> Example:
    item = str(row["item_id"])
    roles = {CANDIDATE: row["a_value"], shown.opens: row["b_value"]}
    names = {role: shown.facts(role, item).sampler.name for role in roles}
    if len(set(names.values())) == 1:
        names = {role: shown.name(role, item) for role in roles}
    prompt = " ".join(str(row["prompt"]).split())
    size = shown.tables.candidate.size
    return Example(
        *kind,
        prompt if len(prompt) <= _LONGEST else f"{prompt[: _LONGEST - 1]}…",
        f"seed {row['seed']}",
        tuple(
            Side(
                names[role],
                words.number(value),
                images[role].get(item),
            )
            for role, value in roles.items()
        ),
        size is not None and max(size) <= _PIXELS,
    )
