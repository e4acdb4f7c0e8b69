"""All runs of some contests before they are made, and what making them takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.core.errors import NotHere
from harness.core.shards import Grid
from harness.experiments.fair_baselines import (
    BOTH,
    GUIDED,
    OWN,
    Fairness,
    expected_baselines,
    fair_baselines,
)
from harness.experiments.pricing import FairPair
from harness.runs.folder import Settings, missing
from harness.runs.forecast import ForeseenRun, forecast, foreseen
from harness.runs.plan import PlannedRun
from harness.store import files
from harness.store.comparison_tables import CANDIDATE
from harness.store.run import Run

if TYPE_CHECKING:
    from harness.experiments.experiment import Contest


def runs_of(
    contests: Iterable[Contest],
    fairness: Fairness,
    work: Grid | int,
    *,
    alone: bool = True,
) -> list[ForeseenRun]:
    """All runs of some contests, those at matched cost and guidance included, each once.

    `work` is a number of images where the prompts are not here. `alone` as of Experiment. Where
    candidate and baseline are made already the others are known, else estimated.
    """
    found: dict[str, ForeseenRun] = {}
    asked = work if isinstance(work, int) else work.shards
    for contest in contests:
        name = contest.candidate.name if contest.candidate else CANDIDATE
        further, known = _further(contest, fairness, work, alone=alone)
        for jobs, sure in ((contest.planned, True), (further, known)):
            for role, job in jobs.items():
                where = _folder(contest, role, job)
                if where not in found:
                    title = name if role == CANDIDATE else _TITLES.get(role, role)
                    found[where] = foreseen(title, job, where, asked, sure=sure)
    return list(found.values())


_TITLES = {OWN: "baseline", BOTH: "matched cost, guidance"}


def _folder(contest: Contest, role: str, job: PlannedRun) -> str:
    """A run's folder; below one without a name where the prompts, which name it, are not here."""
    if role in contest.runs:
        return contest.runs[role].path
    try:
        return contest.place(job)
    except NotHere:
        return job.folder


def _further(
    contest: Contest, fairness: Fairness, work: Grid | int, *, alone: bool
) -> tuple[dict[str, PlannedRun], bool]:
    """The further baselines of a contest, and whether they are known."""
    if OWN not in contest.planned:
        return {}, True
    candidate, own = contest.planned[CANDIDATE], contest.planned[OWN]
    first, second = (_made(contest, role, work) for role in (CANDIDATE, OWN))
    known = first is not None and second is not None
    if first is not None and second is not None and isinstance(work, Grid):
        items = {item for shard in work.shards(first.layout) for item in shard.item_ids}
        pair = FairPair(candidate, own, (first, second))
        fair = fair_baselines(pair, own.planner.plan, fairness, items)
    elif candidate.nfe is None or own.nfe is None:
        return {}, False  # functions of a pipeline, whose cost shows as they run
    else:
        fair = expected_baselines(candidate, own, own.planner.plan, fairness)
    if not alone:
        fair.leave_out(GUIDED)
    return fair.all_jobs, known


def _made(contest: Contest, role: str, work: Grid | int) -> Run | None:
    """A run of a contest, where all its images are made."""
    job = contest.planned[role]
    run = contest.runs.get(role)
    if isinstance(work, int):
        return None
    run = run or Run.find(contest.place(job), job.spec.run_id)
    return None if run is None or missing(run, work.shards(run.layout)) else run


def announced(
    contests: Sequence[Contest],
    fairness: Fairness,
    grid: Grid,
    settings: Settings,
    *,
    alone: bool = True,
) -> list[str]:
    """What an experiment that begins will make, in four lines at most."""
    folder = _folder(contests[0], CANDIDATE, contests[0].planned[CANDIDATE])
    results = files.parent(files.parent(files.parent(folder)))
    return forecast(runs_of(contests, fairness, grid, alone=alone), settings, results).lines
