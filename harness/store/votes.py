"""People's votes on pairs of images: one small Parquet file for each rater and pair of runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

import pandas as pd

from harness.store import files
from harness.store.comparison_tables import MetricInfo
from harness.store.results import typed

HUMAN = MetricInfo("human", "higher", "Human preference", "Share of people's votes for the image")
"""The metric that votes are, in a comparison of the two runs."""

Votes: TypeAlias = Mapping[tuple[str, str], float]
"""By the images of candidate and baseline: the share of votes for the former, ties one half."""

QUESTIONS = {"prompt": "Which fits the prompt better?", "looks": "Which looks better?"}
"""What raters are asked, by name; one of them for all votes of a folder."""

VOTES = {
    "item_id": "string",  # the candidate's image
    "other_id": "string",  # the baseline's: the same item, or another of its prompt if not paired
    "candidate": "string",  # run ids
    "baseline": "string",
    "winner": "string",  # candidate, baseline or tie
    "left": "string",  # which of the two was shown on the left
    "rater": "string",
    "time": "string",  # UTC, ISO 8601
    "question": "string",  # a name of QUESTIONS
}
"""`votes/*.parquet`: one row a vote."""


@dataclass(frozen=True)
class Vote:
    """One row of VOTES."""

    item_id: str
    other_id: str
    candidate: str
    baseline: str
    winner: str
    left: str
    rater: str
    time: str
    question: str = "prompt"


def votes_file(folder: str, candidate: str, baseline: str, rater: str) -> str:
    """Where a rater's votes on two runs (by id) are kept, below a comparison's folder."""
    name = hashlib.sha256("\n".join([candidate, baseline, rater]).encode()).hexdigest()[:12]
    return files.join(folder, "votes", f"votes-{name}.parquet")


def write_votes(path: str, votes: Sequence[Vote]) -> None:
    """Write a rater's votes, a table as VOTES."""
    files.write_frame(path, typed([asdict(vote) for vote in votes], VOTES))


def read_votes(path: str) -> list[Vote]:
    """The votes of a file, none where there is none."""
    if not files.exists(path):
        return []
    return [Vote(*map(str, row)) for row in _table(path).itertuples(index=False)]


def _table(path: str) -> pd.DataFrame:
    """The votes of a file; of those that name no question, it was the first of all."""
    frame = files.read_frame(path)
    return typed(frame if "question" in frame else frame.assign(question="prompt"), VOTES)


def all_votes(folder: str) -> pd.DataFrame:
    """Every rater's votes below `folder`, a table as VOTES."""
    names = files.list_files(files.join(folder, "votes"), ".parquet")
    frames = [_table(files.join(folder, "votes", name)) for name in names]
    return pd.concat([typed([], VOTES), *frames], ignore_index=True)
