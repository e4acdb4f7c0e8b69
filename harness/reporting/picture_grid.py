"""Pictures of one prompt and seed by run: of a sweep a grid over what was varied, else a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from harness.reporting import words
from harness.reporting.board import PictureGrid, Pictures
from harness.reporting.shown_runs import pictures_of, run_of_row
from harness.reporting.viewer import data_address
from harness.store.run import Run
from harness.store.survey_table import Row, SurveyTable

MOST = 360
"""Pictures of a page; so many as fit of at most `_CHOICES` prompts."""
_CHOICES = 12
_MOST_RUNS = 120

Place = tuple[str, str]  # row and column of a grid


def pictures(survey: SurveyTable) -> Pictures:
    """Grids of a survey's pictures; empty where the runs are not where they were.

    Rows and columns are the two parameters that were varied (of more, the last one is across, the
    others are down); of one, and of none, there is a single row.
    """
    held = {at: run for at, row in enumerate(survey.rows) if (run := run_of_row(row))}
    if not held or len(survey.rows) > _MOST_RUNS:
        return Pictures([], [])
    most = max(1, min(_CHOICES, MOST // len(held)))
    chosen = _chosen(list(held.values()), [one.item for one in survey.pictures], most)
    found = {at: _read(run, list(chosen)) for at, run in held.items()}
    grids = [_grid(survey, title, places, found, list(chosen)) for title, places in _places(survey)]
    missing = len(survey.rows) - len(held)
    note = f"{words.plural(missing, 'run')} not where it was." if missing else ""
    return Pictures([*chosen.values()], grids, note)


def _chosen(runs: Sequence[Run], first: Sequence[str], most: int) -> dict[str, str]:
    """Labels by item that all runs have, some items `first`, then the prompts of one seed."""
    if not all(run.shards() for run in runs):
        return {}
    frame = runs[0].frame("images", ["item_id", "prompt", "seed"])
    for run in runs[1:]:
        frame = frame[frame["item_id"].isin(run.frame("images", ["item_id"])["item_id"])]
    frame = frame.sort_values("seed", kind="stable")
    wanted = frame["item_id"].isin(first)
    frame = pd.concat([frame[wanted], frame[~wanted]]).head(most)
    return {row.item_id: f"{row.prompt} (seed {row.seed})" for row in frame.itertuples()}


def _read(run: Run, items: Sequence[str]) -> dict[str, str]:
    """Data URLs of a run's pictures by item, of those that there are."""
    found = {item: data_address(data) for item, data in pictures_of(run, items).items()}
    return {item: address for item, address in found.items() if address}


def _places(survey: SurveyTable) -> list[tuple[str, dict[int, Place]]]:
    """The grids: a title, and the rows of the survey by their place in it."""
    if not survey.varied:
        once = {
            row.path: at for at, row in reversed([*enumerate(survey.rows)])
        }  # the first of each
        named = {at: ("", survey.rows[at].label) for at in sorted(once.values())}
        return [("", named)]
    grids: dict[str, dict[int, Place]] = {}
    *down, across = sorted(survey.varied, key=lambda name: _count(survey, name))
    for at, row in enumerate(survey.rows):
        if not row.point:
            grids.setdefault("", {})[at] = ("", row.label)
            continue
        values = [f"{name} {_value(row, name)}" for name in down]
        place = ", ".join(values), f"{across} {_value(row, across)}"
        grids.setdefault(row.label.rpartition(": ")[0], {})[at] = place
    return [*grids.items()]


def _count(survey: SurveyTable, name: str) -> int:
    return len({_value(row, name) for row in survey.rows if row.point})


def _value(row: Row, name: str) -> str:
    value = row.point.get(name, words.NONE)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _grid(
    survey: SurveyTable,
    title: str,
    places: Mapping[int, Place],
    found: Mapping[int, Mapping[str, str]],
    items: Sequence[str],
) -> PictureGrid:
    down = list(dict.fromkeys(place[0] for place in places.values()))
    across = list(dict.fromkeys(place[1] for place in places.values()))
    runs = {place: found.get(at, {}) for at, place in places.items()}
    shown = [
        [[runs.get((one, other), {}).get(item) for other in across] for one in down]
        for item in items
    ]
    return PictureGrid(title or survey.title, down, across, shown)
