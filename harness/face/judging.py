"""Judge runs: score their images, compare them, write reports, and plan sample sizes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.core.errors import HarnessError
from harness.core.shards import parse_seeds
from harness.experiments.inputs import (
    Names,
    RunLike,
    Say,
    names_of,
    path_of,
    quiet,
    run_of,
    to_stderr,
)
from harness.face.answers import Comparison, Matrix, Survey
from harness.metrics.base import METRICS, Metric, SetMetric, make_metrics, named
from harness.runs.devices import pick_device
from harness.runs.importing import imported, is_run
from harness.runs.manifest import Declared
from harness.runs.progress import Progress
from harness.runs.rank_log import folder_of_logs
from harness.runs.ranks import Ranks
from harness.runs.tracking import make_tracker
from harness.store import files
from harness.store.run import Run

if TYPE_CHECKING:
    from harness.comparison.best_of import Rival
    from harness.evaluation import EvaluationReport
    from harness.store.votes import Votes


def evaluate(
    run: RunLike | Sequence[RunLike],
    metrics: Names,
    *,
    prompts: str | Path | None = None,
    column: str | None = None,
    image_column: str | None = None,
    out: str | Path | None = None,
    results: str | Path = "results",
    device: str | None = None,
    threads: int = 1,
    batch_size: int = 64,
    seed_ranges: str | None = None,
    track: str | None = None,
    log_folder: str | Path | None = None,
    say: Say = quiet,
    note: Say = to_stderr,
) -> pd.DataFrame:
    """Score the images of runs, as far as scores are missing; one row a run and metric.

    `run` is a run, its folder, or images made elsewhere (folder, .zip, .tar, .npz, .parquet), or
    several of these; images that are no run are scored where they are, as `import_images` describes
    them, and their scores lie in `out` or below `results`. Columns: `run`, `metric`, `direction`,
    `value` with its 95 % interval `low`, `high`, `n` images, and `reason` where there is none;
    `run.scores()` has a row an image. `seed_ranges`, as "0-49;50-99;100-149", also reports set
    metrics over each range. On other ranks than the first the table is empty. `track` and
    `log_folder` as of `generate`.

    Progress goes to `say`, warnings to `note`. Raises HarnessError for unknown metrics and if no
    metric can run here; where only some cannot, `note` gets the reasons.
    """
    ranks = Ranks.from_environment(device)
    where = pick_device(device, ranks.local_rank)
    names = names_of(metrics)
    made = make_metrics(names)
    declared = Declared(path_of(prompts), None, column, image_column)
    runs = _opened(run, declared, ranks, path_of(out), str(results))
    if not runs:
        raise HarnessError("no run is named: give a run, its folder, or images")
    rows: list[dict[str, object]] = []
    paths = [one.path for one in runs]
    tracker = make_tracker(track, path_of(log_folder), paths)
    folder = folder_of_logs(path_of(log_folder), paths, ranks.world)
    follow = partial(Progress, ranks, log=folder, tracker=tracker)
    for opened in runs:
        report = _evaluated(opened, made, ranks, follow, where, threads, batch_size, note)
        if report is not None:
            rows += _rows(opened, report, say, note)
            if seed_ranges:
                _say_ranges(opened, names, seed_ranges, say)
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    if track and ranks.rank == 0:
        tracker.table("scores", table, ["run", "metric"])
        tracker.close()
    return table


def _opened(
    run: RunLike | Sequence[RunLike],
    declared: Declared,
    ranks: Ranks,
    out: str | None,
    results: str,
) -> list[Run]:
    """The given runs, opened; images that are no run are imported."""
    given = [run] if isinstance(run, Run | str | Path) else list(run)
    sources = [str(one) for one in given if not isinstance(one, Run) and not is_run(str(one))]
    if declared != Declared() and len(sources) < len(given):
        others = {str(one) if not isinstance(one, Run) else one.path for one in given} - {*sources}
        raise HarnessError(f"{', '.join(others)} is a run: it has its own prompts")
    if out and len(given) > 1:
        raise HarnessError(
            "--out is the folder for one collection of images: give one, or --results"
        )
    paths = {path: imported(path, declared, ranks, out, results) for path in sources}
    return [run_of(one if isinstance(one, Run) else paths.get(str(one), str(one))) for one in given]


def _evaluated(
    run: Run,
    metrics: Sequence[Metric],
    ranks: Ranks,
    follow: Callable[[str, int], Progress],
    device: str,
    threads: int,
    batch_size: int,
    note: Say,
) -> EvaluationReport | None:
    """Evaluate this rank's share of a run; the whole report, on the first rank only."""
    from harness import evaluation

    shards = run.shards()
    done = ranks.world == 1 and not evaluation.pending(run, metrics)
    if not done:
        images = sum(run.read("images", name, ["item_id"]).num_rows for name in shards)
        with follow(f"evaluate {run.spec.run_id}", images) as progress:
            evaluation.evaluate(
                run,
                metrics,
                device=device,
                batch_size=batch_size,
                threads=threads,
                progress=progress.add,
                shards=progress.read(ranks.share(shards), str),
            )
    if ranks.rank != 0:
        return None
    report = evaluation.evaluate(run, metrics, device=device, threads=threads)
    if done:
        note(f"evaluate {run.spec.run_id}: nothing to do")
    return report


def _rows(run: Run, report: EvaluationReport, say: Say, note: Say) -> list[dict[str, object]]:
    """A run's rows of the result; the same in words goes to `say`, what failed to `note`."""
    from harness.experiments.scoring import scores_of
    from harness.reporting.words import estimate

    say(run.path)
    for outcome in report.outcomes.values():
        say(f"  {outcome}")
    for label, problem in report.missing.items():
        note(f"  left out: {named(label, problem)}")
    rows: list[dict[str, object]] = []
    scores = scores_of(run, [outcome.metric for outcome in report.outcomes.values()])
    for outcome, (label, score) in zip(report.outcomes.values(), scores.items(), strict=True):
        say(f"  {label}: {estimate(score.estimate)}, n = {score.n:,}")
        reason = str(outcome) if outcome.undefined and not outcome.scored else score.reason
        values = (score.value, score.low, score.high, score.n, reason)
        cells = (run.path, label[:-2], score.metric.direction, *values)
        rows.append(dict(zip(_COLUMNS, cells, strict=True)))
    return rows


_COLUMNS = ("run", "metric", "direction", "value", "low", "high", "n", "reason")


def _say_ranges(run: Run, metrics: list[str], seed_ranges: str, say: Say) -> None:
    """Report set metrics over each range of seeds, with their mean and minimum."""
    from harness.evaluation import by_seed_range
    from harness.reporting.words import number

    ranges = seed_ranges.split(";")
    for metric in make_metrics(metrics):
        if not isinstance(metric, SetMetric):
            continue
        scores = by_seed_range(run, metric, [parse_seeds(seeds) for seeds in ranges])
        for seeds, score in zip(ranges, scores, strict=True):
            value = number(score.value) if score.value is not None else score.reason
            say(f"  {metric.call}, seeds {seeds.strip()}: {value}, n = {score.n:,}")
        values = [score.value for score in scores if score.value is not None]
        if len(values) == len(scores):
            mean = number(sum(values) / len(values))
            say(f"  {metric.call}: mean {mean}, minimum {number(min(values))}")


def compare(
    candidate: RunLike,
    baseline: RunLike | Sequence[RunLike],
    *,
    metrics: Names | None = None,
    out: str | Path | None = None,
    fair: bool = False,
    matrix: bool = False,
    match: str = "macs",
    match_guidance: str = "constant",
    curve: str | Sequence[float] = "auto",
    device: str | None = None,
    threads: int = 1,
    batch_size: int | str | None = None,
    workers: int | None = None,
    best_of: RunLike | None = None,
    verifier: str | None = None,
    note: Say = to_stderr,
) -> Comparison | Matrix:
    """Winning rates of one run over others, on the scores that `evaluate` stored.

    `metrics` default to all metrics of single images, without parameters, that every run has been
    scored on. Tables lie in `out` (default: the candidate's folder). `fair` also makes the baseline
    at equal cost and equal guidance, with the options after it, as `bench` does; `matrix` compares
    each run with each other one. A comparison leaves its n and p in the candidate's `looks/`, but
    for a matrix: one of more images later says that it is the second look. `best_of` is a cheaper
    run: as many of its pictures as the candidate's cost pays for compete, of which `verifier`, a
    metric that both are scored on and that judges by another network than the first of `metrics`,
    keeps the best; with `fair` it is the baseline. Where people's votes on two runs are stored
    (`harness arena`), each metric's agreement with them is told. Raises HarnessError for runs that
    cannot be compared, and where scores are missing.
    """
    run = run_of(candidate)
    given = [baseline] if isinstance(baseline, Run | str | Path) else baseline
    opened = [run_of(one) for one in given]
    if not opened:
        raise HarnessError("no baseline is named: give a run to compare with")
    names = _in_common([run, *opened]) if metrics is None else names_of(metrics)
    folder = path_of(out) or run.path
    if "human" in names and (fair or matrix):
        raise HarnessError(
            "votes are on two runs: compare them with the metric human without --fair and --matrix"
        )
    how = {
        "match": match,
        "match_guidance": match_guidance,
        "curve": curve,
        "device": device,
        "threads": threads,
        "batch_size": batch_size,
        "workers": workers,
    }
    if fair and matrix:
        raise HarnessError("--fair compares two runs, --matrix all of them: give one of the two")
    if (best_of is None) != (verifier is None):
        raise HarnessError(
            "--best-of names a run to make several pictures with, --verifier the metric that keeps "
            "the best: give both"
        )
    chosen_from = None if best_of is None else run_of(best_of)
    if matrix and chosen_from:
        raise HarnessError("--best-of is for one candidate: give it without --matrix")
    if fair:
        if chosen_from and not files.same_place(chosen_from.path, opened[0].path):
            raise HarnessError("with --fair, --best-of is the baseline: name the same run")
        return _fair(run, opened, names, folder, {**how, "verifier": verifier}, note)
    parameters = inspect.signature(compare).parameters
    if how != {name: parameters[name].default for name in how}:
        raise HarnessError(
            "--match, --match-guidance, --curve, --device, --threads, --batch-size and --workers "
            "go with --fair"
        )
    if matrix:
        return _matrix(run, opened, names, folder)
    rival = _rival(chosen_from, str(verifier), names) if chosen_from else None
    return _plain(run, opened, names, folder, rival)


def _rival(run: Run, verifier: str, metrics: list[str]) -> Rival:
    """The best of several pictures of a run, chosen by a metric that the run is scored on."""
    from harness.experiments.rivals import make_rival, make_verifier

    judges = make_metrics([name for name in metrics if name != "human"])
    return make_rival(run, make_verifier(verifier, judges), judges)


def _in_common(runs: Sequence[Run]) -> list[str]:
    """The metrics of single images, without parameters, that all runs have been scored on."""
    scored = [set(files.list_files(files.join(run.path, "scores"), "")) for run in runs]
    if common := sorted(set.intersection(*scored) & set(METRICS.names())):
        return common
    raise HarnessError(
        "the runs have been scored on no metric in common: evaluate them first, or name the metrics"
    )


def _fair(
    run: Run,
    baselines: list[Run],
    metrics: list[str],
    folder: str,
    how: dict[str, Any],
    note: Say,
) -> Comparison:
    from harness.experiments.bench import compare_fairly

    if len(baselines) > 1:
        raise HarnessError(f"--fair is for one baseline, not {len(baselines)}: compare each alone")
    tables = compare_fairly(run, baselines[0], metrics=metrics, out=folder, say=note, **how)
    return Comparison(tables, folder)


def _matrix(run: Run, others: list[Run], metrics: list[str], folder: str) -> Matrix:
    from harness.experiments.scoring import compare_each

    return Matrix(compare_each(_named([run, *others]), make_metrics(metrics), folder), folder)


def _plain(
    run: Run, baselines: list[Run], metrics: list[str], folder: str, rival: Rival | None
) -> Comparison:
    from harness.experiments.scoring import compare_runs

    votes = _votes(folder, run, baselines) if "human" in metrics else None
    made = make_metrics([name for name in metrics if name != "human"])
    tables = compare_runs(run, _named(baselines), made, folder, votes=votes, rival=rival)
    return Comparison(tables, folder)


def _votes(folder: str, candidate: Run, baselines: list[Run]) -> Votes:
    """The stored votes on two runs; raises HarnessError where there are none."""
    from harness.comparison.human_votes import preferences

    if len(baselines) > 1:
        raise HarnessError("votes are on two runs: name one baseline with the metric human")
    votes = preferences(folder, candidate.spec.run_id, baselines[0].spec.run_id)
    if not votes:
        raise HarnessError(
            f"{folder}/votes holds no vote on these two runs: first harness arena "
            f"{candidate.path} {baselines[0].path}"
        )
    return votes


def _named(runs: list[Run]) -> dict[str, Run]:
    """Runs by their ids, or by their paths where ids repeat."""
    ids = [run.spec.run_id for run in runs]
    names = ids if len(set(ids)) == len(ids) else [run.path for run in runs]
    return dict(zip(names, runs, strict=True))


def report(folder: str | Path, *, say: Say = quiet) -> Comparison | Survey:
    """Load the comparison or survey stored in a folder and write its report again.

    The stored tables are enough for all but the pictures, which are the runs'; a message goes to
    `say` where those are gone.
    """
    from harness.reporting.viewer import absence
    from harness.store.comparison_tables import load_comparison
    from harness.store.survey_table import holds_survey, load_survey

    found: Comparison | Survey
    if holds_survey(str(folder)):
        found = Survey(load_survey(str(folder)), str(folder))
    else:
        found = Comparison(load_comparison(str(folder)), str(folder))
        if gone := absence(found.tables):
            say(gone)
    found.report(say)
    return found


def power(
    *,
    rate: float | None = None,
    prompts: int | None = None,
    ties: float = 0.0,
    prompt_share: float = 0.2,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """How many prompts and seeds show a winning rate in 80 % of cases.

    For the true `rate` (default 0.6), or, with `prompts`, which rate so many prompts show. `ties`
    is the share of tied pairs, `prompt_share` that of the outcomes' variance which is the prompts'
    own rather than noise, `alpha` the two-sided level. One row a number of seeds: `seeds`,
    `prompts`, `pairs`, and with `prompts` the `winning_rate` that shows (NaN: none does).
    """
    from harness.comparison.sample_size import Plan

    if rate is not None and prompts is not None:
        raise HarnessError(
            "--rate asks how many prompts show it, --prompts which rate they show: give one"
        )
    plan = Plan(ties, prompt_share, alpha)
    rows = []
    for seeds in (1, 2, 4, 8, 16):
        count = plan.prompts(0.6 if rate is None else rate, seeds) if prompts is None else prompts
        row: dict[str, float | None] = {"seeds": seeds, "prompts": count, "pairs": count * seeds}
        if prompts is not None:
            row["winning_rate"] = plan.rate(prompts, seeds)
        rows.append(row)
    return pd.DataFrame(rows)
