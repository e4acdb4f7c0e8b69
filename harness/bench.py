"""A benchmark from beginning to end: a candidate, its baseline, and the baseline at its cost."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import evaluate as evaluation
from harness import generate as generation
from harness.benchmark import Benchmark
from harness.compare.comparing import compare
from harness.errors import HarnessError
from harness.generate import Job, Settings
from harness.launch import Ranks
from harness.matching import match_cost
from harness.metrics.base import Metric, SetMetric, checks, make_metrics
from harness.progress import Progress
from harness.prompts.base import load_prompts
from harness.spec import Shard, parse_seeds, plan_shards
from harness.store import comparison as tables
from harness.store.comparison import Comparison, MetricInfo
from harness.store.run import Run

OWN, MATCHED = "own", "matched cost"
_AT_LEAST = 2  # shards a process, below which starting another costs more than it saves


@dataclass(frozen=True)
class Order:
    """What to compare and how; `model`, `sampler`, `baseline` and so on are as typed."""

    benchmark: Benchmark
    model: str
    sampler: str
    baseline: str
    seeds: str
    prompts: str
    limit: int | None
    metrics: Sequence[str]
    dtype: str
    size: tuple[int, int] | None
    prompts_folder: str | None
    column: str | None
    results: str
    settings: Settings
    workers: int


def run_bench(order: Order, say: Callable[[str], None]) -> tuple[Comparison, str]:
    """Generate and evaluate what is missing, and compare; the comparison and its folder.

    Everything that can be checked is checked before weights are loaded.
    """
    seeds = parse_seeds(order.seeds)
    jobs, absent = plan_jobs(order)
    usable = _usable(order.metrics, say)
    for name, job in jobs.items():
        say(f"{name}: {job.spec.sampler}, {job.nfe} evaluations an image")
    prompts = load_prompts(
        order.prompts, limit=order.limit, column=order.column, folder=order.prompts_folder
    )
    runs = {
        name: generation.open_run(job, f"{order.results}/{job.folder}", order.settings)
        for name, job in jobs.items()
    }
    shards = plan_shards(list(prompts.prompts), seeds)
    _generate(order, jobs, runs, shards)
    _evaluate(list(runs.values()), [str(metric.call) for metric in usable], order.settings)
    baselines = {name: runs.get(name) for name in (OWN, MATCHED)}
    folder = runs[tables.CANDIDATE].path
    return compare_runs(runs[tables.CANDIDATE], baselines, usable, folder, absent), folder


def compare_runs(
    candidate: Run,
    baselines: Mapping[str, Run | None],
    metrics: Sequence[Metric],
    out: str,
    absent: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare evaluated runs on item metrics, with their set scores beside; writes `compare/`."""
    runs = {tables.CANDIDATE: candidate, **{k: run for k, run in baselines.items() if run}}
    return compare(
        candidate,
        baselines,
        [_info(metric) for metric in metrics if not isinstance(metric, SetMetric)],
        out,
        set_scores=[
            _set_score(name, run, metric)
            for metric in metrics
            if isinstance(metric, SetMetric)
            for name, run in runs.items()
        ],
        absent=absent,
        commands=[shlex.join(["harness", *sys.argv[1:]])],
    )


def plan_jobs(order: Order) -> tuple[dict[str, Job], dict[str, str]]:
    """The candidate's job and its baselines', by role; and why a baseline is absent.

    The baseline has the candidate's steps and guidance, unless its text says otherwise.
    """

    def planned(sampler: str, defaults: dict[str, Any]) -> Job:
        return generation.plan(
            order.model, sampler, defaults=defaults, size=order.size, dtype=order.dtype
        )

    candidate = planned(order.sampler, order.benchmark.defaults)
    own = candidate.spec.sampler.params
    shared: dict[str, Any] = {k: own[k] for k in ("steps", "guidance") if k in own}
    baseline = planned(order.baseline, shared)
    candidate.entry.revision()
    if candidate.spec == baseline.spec:
        raise HarnessError(
            f"{candidate.spec.sampler} would be compared with itself: choose another sampler or "
            "baseline"
        )
    jobs = {tables.CANDIDATE: candidate, OWN: baseline}
    try:
        ladders = candidate.entry.ladders(candidate.model.params)
        matched = match_cost(ladders, baseline.spec.sampler, candidate.sigmas, candidate.nfe)
    except HarnessError as error:
        return jobs, {MATCHED: str(error)}
    return {**jobs, MATCHED: planned(str(matched), {})}, {}


def _usable(names: Sequence[str], say: Callable[[str], None]) -> list[Metric]:
    """The metrics that can run here; what the others lack is said, or raised if none can."""
    metrics = make_metrics(names)
    problems = checks(metrics)
    usable = [metric for metric in metrics if metric.label not in problems]
    if all(isinstance(metric, SetMetric) for metric in usable):
        raise HarnessError(
            "\n".join(problems.values())
            or "name a metric that scores single images: see 'harness list metrics'"
        )
    for problem in problems.values():
        say(f"left out: {problem}")
    return usable


def _generate(
    order: Order, jobs: dict[str, Job], runs: dict[str, Run], shards: list[Shard]
) -> None:
    due = {name: generation.missing(run, shards) for name, run in runs.items()}
    count = sum(len(some) for some in due.values())
    if not count:
        return
    workers = max(1, min(order.workers, count // _AT_LEAST))
    if workers > 1:
        _launch(order, jobs, workers)
    else:
        work = [(jobs[name], runs[name], shard) for name, some in due.items() for shard in some]
        images = sum(len(shard.prompts) for _, _, shard in work)
        with Progress(Ranks(), "generate", images) as progress:
            generation.generate(work, order.settings, progress.add)
    for name, run in runs.items():
        if left := len(generation.missing(run, shards)):
            raise HarnessError(f"{left} shards of {run.path} ({name}) were not made: run it again")


def _launch(order: Order, jobs: dict[str, Job], workers: int) -> None:
    """`harness generate` under torchrun: one process a device or core."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={workers}", "-m", "harness", "generate"]
    command += ["--model", order.model, "--prompts", order.prompts, "--seeds", order.seeds]
    for job in jobs.values():
        command += ["--sampler", str(job.spec.sampler)]
    given = {
        "--results": order.results,
        "--limit": order.limit,
        "--column": order.column,
        "--prompts-folder": order.prompts_folder,
        "--dtype": order.dtype,
        "--size": order.size and f"{order.size[0]}x{order.size[1]}",
        "--threads": order.settings.threads,
        "--batch-size": order.settings.batch_size,
        "--device": None if order.settings.device.startswith("cuda") else order.settings.device,
    }
    for option, value in given.items():
        command += [] if value is None else [option, str(value)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(order.settings.threads)}
    done = subprocess.run(command, env=environment, check=False)
    if done.returncode:
        raise HarnessError("generation stopped (see above); what is complete is kept: run it again")


def _evaluate(runs: Sequence[Run], metrics: list[str], settings: Settings) -> None:
    due = {run.path: evaluation.pending(run, metrics) for run in runs}
    images = sum(
        run.read("images", shard, ["item_id"]).num_rows for run in runs for shard in due[run.path]
    )
    if not images:
        return
    with Progress(Ranks(), "evaluate", images) as progress:
        for run in runs:
            evaluation.evaluate(
                run, metrics, device=settings.device, progress=progress.add, shards=due[run.path]
            )


def _info(metric: Metric) -> MetricInfo:
    about = metric.about
    return MetricInfo(metric.label, about.direction, about.title, about.description)


def _set_score(role: str, run: Run, metric: SetMetric) -> tables.SetScore:
    score = evaluation.set_score(run, metric)
    return tables.SetScore(
        role,
        _info(metric),
        score.value,
        score.n,
        score.low,
        score.high,
        score.reason or score.interval_reason,
    )
