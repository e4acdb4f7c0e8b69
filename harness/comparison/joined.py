"""Pairs of two runs' items as numbers of their rows, from which all else is taken when needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import pandas as pd

from harness.comparison.statistics import Codes, Floats, Mask
from harness.core.outcome import outcome, turned
from harness.store.comparison_tables import MetricInfo
from harness.store.text_columns import coded, numbered
from harness.store.votes import HUMAN

Rows: TypeAlias = slice | Codes
"""Which rows of a table, in which order."""


@dataclass(frozen=True)
class Joined:
    """Pairs of items of two runs, and how many items of either have no partner.

    A pair is of a row of the items `a` and one of `b`: the candidate's and the baseline's, see
    `pairs.Scored`. Prompts are the candidate's, one for each text. `crossed`: all pairs of a
    prompt's images, whose noise differs. `votes` [pairs] are people's where they are the scores of
    HUMAN, as an image may be in several pairs.
    """

    a: pd.DataFrame
    b: pd.DataFrame
    a_rows: Rows
    b_rows: Rows
    a_alone: int = 0
    b_alone: int = 0
    crossed: bool = False
    votes: Floats | None = None

    def __len__(self) -> int:
        return len(self.of_a("item_id"))

    def of_a(self, column: str) -> pd.Series:
        """A column of the candidate's items, by pair."""
        return self.a[column].iloc[self.a_rows]

    def of_b(self, column: str) -> pd.Series:
        """A column of the baseline's items, by pair."""
        return self.b[column].iloc[self.b_rows]

    def part(self, first: int, last: int) -> Joined:
        """The pairs from `first` to before `last`."""
        places = np.arange(first, min(last, len(self)))
        a, b = (places if isinstance(r, slice) else r[places] for r in (self.a_rows, self.b_rows))
        votes = None if self.votes is None else self.votes[places]
        return Joined(self.a, self.b, a, b, crossed=self.crossed, votes=votes)

    @cached_property
    def prompts(self) -> Codes:
        """The pairs' prompts, numbered from 0."""
        return numbered(self.of_a("prompt_id"))

    @cached_property
    def seeds(self) -> Codes:
        """The candidate's seeds, numbered from 0."""
        return numbered(self.of_a("seed"))

    @property
    def categories(self) -> Codes:
        """The pairs' categories, numbered from 0 in alphabetical order; -1 where there is none."""
        return self._categories[0]

    @property
    def category_names(self) -> list[str]:
        """The categories, in alphabetical order."""
        return self._categories[1]

    @cached_property
    def _categories(self) -> tuple[Codes, list[str]]:
        codes, held = coded(self.of_a("category"))
        found = held.to_pylist()
        names = sorted({found[at] for at in np.unique(codes) if at >= 0 and found[at]})
        places = {name: at for at, name in enumerate(names)}
        return np.array([*(places.get(name, -1) for name in found), -1], np.int64)[codes], names

    @cached_property
    def a_failed(self) -> Mask:
        """Which of the candidate's pictures failed."""
        return self.of_a("failed").notna().to_numpy(bool)

    @cached_property
    def b_failed(self) -> Mask:
        """Which of the baseline's pictures failed."""
        return self.of_b("failed").notna().to_numpy(bool)

    def scores(self, metric: MetricInfo) -> tuple[Floats, Floats]:
        """The scores [pairs] of both sides' pictures, NaN where there are none."""
        a, b = self._given(metric)
        return _without(a, self.a_failed), _without(b, self.b_failed)

    def _given(self, metric: MetricInfo) -> tuple[Floats, Floats]:
        if metric == HUMAN and self.votes is not None:
            return self.votes, turned(self.votes)
        column = f"value:{metric.name}"
        return self.of_a(column).to_numpy(np.float64), self.of_b(column).to_numpy(np.float64)

    def outcomes(self, metric: MetricInfo) -> Floats:
        """The outcomes [pairs] on a metric, NaN where a pair is left out.

        The better value wins, equal values tie; a failed image loses, two failed tie. Where both
        sides have a picture and one has no score, the pair is left out. So is a pair without a
        vote, failed or not: see `arena.Ballot`.
        """
        a, b = self._given(metric)
        ahead = metric.sign * (a - b)
        if (either := self.a_failed | self.b_failed).any():
            ahead = np.where(either, self.b_failed.astype(float) - self.a_failed, ahead)
        found = outcome(ahead)
        return np.where(np.isnan(a), np.nan, found) if metric == HUMAN else found

    def left_out(self, metric: MetricInfo, outcomes: Floats) -> pd.Series:
        """Why pairs are left out, of which `outcomes` is NaN: categories, null for the others."""
        rows = np.flatnonzero(np.isnan(outcomes))
        if metric == HUMAN and self.votes is not None:
            said = pd.Series("no vote", range(len(rows)), dtype="str")
        else:
            name = f"reason:{metric.name}"
            a, b = (of(name).iloc[rows].astype("str") for of in (self.of_a, self.of_b))
            missing = np.isnan(self._given(metric)[0][rows])
            said = pd.Series(np.where(missing, a, b), dtype="str").fillna("no score")
        places, names = pd.factorize(said)
        codes = np.full(len(outcomes), -1, np.int32)
        codes[rows] = places
        return pd.Series(pd.Categorical.from_codes(codes, pd.Index(names, dtype="str")))


def _without(values: Floats, failed: Mask) -> Floats:
    return np.where(failed, np.nan, values) if failed.any() else values
