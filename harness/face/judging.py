"""Judge runs: score their images, compare them, write reports, and plan how many are needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.errors import HarnessError
from harness.face.inputs import Names, RunLike, Say, names_of, path_of, quiet, run_of
from harness.store.run import Run

if TYPE_CHECKING:
    import pandas as pd

    from harness.evaluation import EvaluationReport
    from harness.runs.manifest import Declared
    from harness.runs.workers import Ranks


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
    say: Say = quiet,
    note: Say = quiet,
) -> pd.DataFrame:
    """Score the images of runs: what is missing; one row a run and metric.

    `run` is a run, its folder, or anybody's images (a folder, a .zip or .parquet), or several of
    these; images that are no run are scored where they are, as `import_images` describes them,
    and what is found lies in `out` or below `results`. Columns: `run`, `metric`, `direction`,
    `value` with its 95 % interval `low`, `high`, `n` images, and `reason` where there is none;
    `run.scores()` has a row an image. `seed_ranges`, as "0-49;50-99;100-149", also says set metrics
    over each range. On other ranks than the first the table is empty.

    Raises HarnessError for unknown metrics and if no metric can run here; what only some lack is
    told to `note`.
    """
    from harness.metrics.base import make_metrics
    from harness.runs.manifest import Declared
    from harness.runs.workers import Ranks, pick_device

    ranks = Ranks.from_environment()
    where = pick_device(device, ranks.local_rank)
    names = names_of(metrics)
    make_metrics(names)
    declared = Declared(path_of(prompts), None, column, image_column)
    runs = _opened(run, declared, ranks, path_of(out), str(results))
    rows = []
    for opened in runs:
        report = _evaluated(opened, names, ranks, where, threads, batch_size, note)
        if report is not None:
            rows += _told(opened, report, say, note)
            if seed_ranges:
                _tell_ranges(opened, names, seed_ranges, say)
    return _frame(rows)


def _opened(
    run: RunLike | Sequence[RunLike],
    declared: Declared,
    ranks: Ranks,
    out: str | None,
    results: str,
) -> list[Run]:
    """The runs that are meant; of images that are none, the runs that are made of them."""
    from harness.runs.importing import imported, is_run
    from harness.runs.manifest import Declared

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
    metrics: list[str],
    ranks: Ranks,
    device: str,
    threads: int,
    batch_size: int,
    note: Say,
) -> EvaluationReport | None:
    """What is stored of a run now, with this rank's share done; None but on the first rank."""
    from harness import evaluation
    from harness.runs.progress import Progress

    shards = run.shards()
    done = ranks.world == 1 and not evaluation.pending(run, metrics)
    if not done:
        images = sum(run.read("images", name, ["item_id"]).num_rows for name in shards)
        with Progress(ranks, f"evaluate {run.spec.run_id}", images) as progress:
            evaluation.evaluate(
                run,
                metrics,
                device=device,
                batch_size=batch_size,
                threads=threads,
                progress=progress.add,
                shards=ranks.share(shards),
            )
    if ranks.rank != 0:
        return None
    report = evaluation.evaluate(run, metrics, device=device, threads=threads)
    if done:
        note(f"evaluate {run.spec.run_id}: nothing to do")
    return report


def _told(run: Run, report: EvaluationReport, say: Say, note: Say) -> list[dict[str, object]]:
    """A run's rows of the result, and the same in words."""
    from harness.experiments.scoring import scores_of
    from harness.reporting.words import estimate

    say(run.path)
    for outcome in report.outcomes.values():
        say(f"  {outcome}")
    for problem in report.missing.values():
        note(f"  left out: {problem}")
    rows: list[dict[str, object]] = []
    found = scores_of(run, [outcome.metric for outcome in report.outcomes.values()])
    for label, score in found.items():
        value = estimate(score.estimate)
        say(f"  {label}: {value}, n = {score.n:,}")
        told = (score.value, score.low, score.high, score.n, score.reason)
        rows.append(
            dict(zip(_COLUMNS, (run.path, label[:-2], score.metric.direction, *told), strict=True))
        )
    return rows


_COLUMNS = ("run", "metric", "direction", "value", "low", "high", "n", "reason")


def _frame(rows: list[dict[str, object]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _tell_ranges(run: Run, metrics: list[str], seed_ranges: str, say: Say) -> None:
    """Set metrics over each range of seeds, their mean and minimum."""
    from harness.core.shards import parse_seeds
    from harness.evaluation import by_seed_range
    from harness.metrics.base import SetMetric, make_metrics
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
    import pandas as pd

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
