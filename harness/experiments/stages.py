"""The long stages of an experiment: making missing images, computing missing scores."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness import evaluation
from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.core.shards import Grid
from harness.metrics.base import METRICS, make_metrics
from harness.runs.failures import lost_first
from harness.runs.folder import Settings, missing
from harness.runs.plan import PlannedRun, registered_here
from harness.runs.progress import Progress
from harness.runs.rank_log import folder_of_logs
from harness.runs.ranks import Ranks
from harness.runs.repaying import Alone, planned_processes
from harness.runs.work import Work, in_turn, make_work, write_work
from harness.store.run import Run

log = logging.getLogger(__name__)


def generate_missing(
    runs: Iterable[tuple[PlannedRun, Run]], grid: Grid, settings: Settings
) -> None:
    """Make the missing shards of runs, loading weights once for each model and guide.

    Raises HarnessError if any is missing afterwards.
    """
    groups: dict[tuple[int, str | None], list[tuple[PlannedRun, Run]]] = {}
    for planned, run in runs:
        groups.setdefault((id(planned.planner), planned.spec.guide), []).append((planned, run))
    for group in groups.values():
        due = [
            (*one, shard) for one in group for shard in missing(one[1], grid.shards(one[1].layout))
        ]
        hand_out(in_turn(due), settings)
        for _, run in group:
            if left := len(missing(run, grid.shards(run.layout))):
                raise HarnessError(f"{left} shards of {run.path} were not made: run it again")


def hand_out(work: Work, settings: Settings) -> None:
    """Do the work in this process, or in several where it repays starting them.

    Those that are there do all that comes.
    """
    if not work:
        return
    most = _most(work, settings)
    with settings.crew as crew:
        alone = Alone(most)
        count = min(crew.size, most) or planned_processes(work, settings, most)
        if count == 1:
            make_work(work, settings, take=alone.take)
            count, rest = alone.count, alone.rest
        else:
            rest = list(work)
        if rest:
            _share(work, rest, count, settings)


def _most(work: Work, settings: Settings) -> int:
    """How many processes may share the work: one where no other knows what it uses."""
    local = {name for planned, _, _ in work for name in registered_here(planned)}
    if local and settings.workers > 1:
        first = min(local)
        log.warning("%s is registered in this process alone, which makes all images", first)
    return 1 if local else settings.workers


def _share(work: Work, rest: Work, count: int, settings: Settings) -> None:
    """Have the rest of the work done by `count` processes."""
    made = sum(shard.count for _, _, shard in work) - sum(shard.count for _, _, shard in rest)
    with tempfile.TemporaryDirectory() as folder, lost_first(run for _, run, _ in work):
        listed = str(Path(folder, "work.json"))
        write_work(listed, rest, settings, made)
        launch(["make-shards", listed], count, settings)


def launch(command: Sequence[str], workers: int, settings: Settings) -> None:
    """Have a `harness` command done by several processes: one a device or core."""
    settings.loaded.drop()  # they need the memory
    words = [*command, *(["--device", settings.asked] if settings.asked else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": str(settings.threads)}
    settings.crew.do(words, workers, environment, settings.tracker.progress)


def evaluate_missing(runs: Sequence[Run], metrics: Sequence[Call], settings: Settings) -> None:
    """Compute the scores and features of runs that some metric lacks."""
    due = {run.path: evaluation.pending(run, metrics) for run in runs}
    if any(due.values()):
        _evaluate(runs, metrics, due, settings)
    for run in runs:
        run.update_index()


def _evaluate(
    runs: Sequence[Run],
    metrics: Sequence[Call],
    due: Mapping[str, list[str]],
    settings: Settings,
) -> None:
    """Evaluate the shards that are due, by the runs' paths."""
    shared = not any(METRICS.only_here(METRICS.get(metric.name)) for metric in metrics)
    if shared and settings.workers > 1 and settings.device.startswith("cuda"):
        paths = [path for path, shards in due.items() if shards]
        command = ["evaluate", *paths, "--metrics", ",".join(map(str, metrics))]
        command += ["--threads", str(settings.threads)]
        command += ["--log-folder", settings.log_folder] if settings.log_folder else []
        with lost_first(runs):
            launch(command, settings.workers, settings)
        return
    if settings.device.startswith("cuda"):
        settings.loaded.drop()  # metrics may need the memory
    images = sum(
        run.read("images", shard, ["item_id"]).num_rows for run in runs for shard in due[run.path]
    )
    log = folder_of_logs(settings.log_folder, list(due), 1)
    made = make_metrics(metrics)  # loaded once for all runs
    with Progress(Ranks(), "evaluate", images, log, settings.tracker) as progress:
        for run in progress.each(runs, lambda one: one.path):
            evaluation.evaluate(
                run,
                made,
                device=settings.device,
                threads=settings.threads,
                progress=progress.add,
                shards=due[run.path],
            )
