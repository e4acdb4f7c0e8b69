"""Rows of the table of pairs, made of joined items whenever they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.comparison.joined import Joined
from harness.store.comparison_tables import MetricInfo
from harness.store.pair_table import MadePart
from harness.store.row_groups import ROWS


def drawn(joined: Joined, metric: MetricInfo, comparison: str) -> list[MadePart]:
    """All pairs on one metric, in parts."""
    return [
        MadePart(comparison, metric.name, min(ROWS, len(joined) - at), _Columns(joined, metric, at))
        for at in range(0, len(joined), ROWS)
    ]


@dataclass(frozen=True)
class _Columns:
    """Columns of PAIRS of ROWS pairs from `first` on, or of as many as there are."""

    pairs: Joined
    metric: MetricInfo
    first: int

    def __call__(self, column: str) -> Any:
        here, metric = self.pairs.part(self.first, self.first + ROWS), self.metric
        made: dict[str, Callable[[], Any]] = {
            "item_id": lambda: _names(here),
            "prompt_id": lambda: here.of_a("prompt_id"),
            "prompt": lambda: here.of_a("prompt"),
            "category": lambda: here.of_a("category"),
            "seed": lambda: here.of_a("seed").to_numpy(),
            "b_seed": lambda: here.of_b("seed").to_numpy() if here.crossed else None,
            "a_value": lambda: here.scores(metric)[0],
            "b_value": lambda: here.scores(metric)[1],
            "a_failed": lambda: here.of_a("failed"),
            "b_failed": lambda: here.of_b("failed"),
            "outcome": lambda: here.outcomes(metric),
            "left_out": lambda: here.left_out(metric, here.outcomes(metric)),
        }
        return made[column]()


def _names(pairs: Joined) -> pd.Series:
    """The pairs' ids: those of the candidate's items, and with whose they are crossed."""
    own = pairs.of_a("item_id")
    if not pairs.crossed:
        return own
    own, other = (ids.reset_index(drop=True) for ids in (own, pairs.of_b("item_id")))
    seeds = pairs.of_b("seed").astype(str).reset_index(drop=True)
    prompts = [ids.str.rsplit("/", n=1).str[0] for ids in (own, other)]
    return own + " with " + ("seed " + seeds).where(prompts[0] == prompts[1], other)
