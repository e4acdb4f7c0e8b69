"""A benchmark from beginning to end: a candidate, its baseline, and the baseline at its cost."""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import evaluation
from harness.comparison.comparing import compare, tabulate
from harness.comparison.matrix import compare_all
from harness.comparison.same_noise import check_same_noise
from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError
from harness.core.shards import Shard, asked_items, parse_seeds, plan_shards
from harness.engine.resolve import portable
from harness.experiments.benchmark import Benchmark
from harness.experiments.fair_baselines import (
    BOTH,
    GUIDED,
    MATCHED,
    OWN,
    Fair,
    Pair,
    check_fairness,
    fair_baselines,
)
from harness.metrics.base import (
    METRICS,
    Metric,
    PromptMetric,
    SetMetric,
    checks,
    make_metric,
    make_metrics,
)
from harness.prompts.base import load_prompts, set_name
from harness.runs.folder import Settings, missing, open_run
from harness.runs.make import generate
from harness.runs.plan import Job, plan
from harness.runs.progress import Progress
from harness.runs.workers import Ranks, run_child
from harness.store import comparison_tables as tables
from harness.store.comparison_tables import ComparisonTables, MetricInfo
from harness.store.matrix_table import MatrixTable
from harness.store.run import Run
from harness.store.votes import HUMAN, Votes

_AT_LEAST = 2  # shards a process, below which starting another costs more than it saves


@dataclass(frozen=True)
class Order:
    """What to compare and how; `model`, `sampler`, `baseline` and so on are as typed."""

    benchmark: Benchmark
    model: str
    sampler: str
    baseline: str | None  # None: nothing to beat, in a benchmark of several candidates only
    guide: str | None
    seeds: str
    prompts: str
    limit: int | None
    metrics: Sequence[str]
    dtype: str | None
    size: tuple[int, int] | None
    prompts_folder: str | None
    column: str | None
    results: str  # root; runs are <prompt set or benchmark>/<model>/<run> below it
    device: str | None  # as typed
    settings: Settings
    workers: int
    match: str = "macs"  # the unit of cost, see fairness.py
    match_guidance: str = "constant"
    curve: Sequence[float] | None = None  # guidance weights; None: chosen, empty: none

    @property
    def root(self) -> str:
        """Where the runs' folders are: the benchmark's, or the other prompts' own."""
        named = self.benchmark.prompts == self.prompts
        return f"{self.results}/{self.benchmark.name if named else set_name(self.prompts)}"

    def planned(self, sampler: str | Call, defaults: dict[str, Any] | None = None) -> Job:
        """A run of this order; `defaults` are for what the sampler's text leaves open."""
        return plan(
            self.model,
            sampler,
            defaults=defaults,
            size=self.size,
            dtype=self.dtype,
            device=self.settings.device,
            noise_key=self.benchmark.noise_key,
            guide=self.guide,
        )


def run_bench(order: Order, say: Callable[[str], None]) -> tuple[ComparisonTables, str]:
    """Generate and evaluate what is missing, and compare; the comparison and its folder.

    Everything that can be checked is checked before weights are loaded. The fair baselines are
    planned when the candidate and the baseline as it is are made: their cost is measured, and the
    candidate's guidance scale weighs its steps by what was seen at them.
    """
    if order.baseline is None:
        raise HarnessError(f"benchmark {order.benchmark.name} has no baseline: give --baseline")
    check_fairness(order.match, order.match_guidance)
    jobs = plan_jobs(order)
    usable = usable_metrics(order.metrics, say)
    if all(isinstance(metric, SetMetric) for metric in usable):
        raise HarnessError("name a metric that scores single images: see 'harness list metrics'")
    shards, items = planned_items(order)
    runs = made(order, jobs, shards, say)
    pair = Pair(jobs[tables.CANDIDATE], jobs[OWN], (runs[tables.CANDIDATE], runs[OWN]))
    fair = fair_baselines(
        pair, order.planned, order.match, order.curve, items, order.match_guidance
    )
    for note in fair.notes:
        say(note)
    others = made(order, fair.all_jobs, shards, say)
    named = [str(metric.call) for metric in usable]
    evaluate_missing(order, [*runs.values(), *others.values()], named)
    folder = runs[tables.CANDIDATE].path
    found = compare_fairly(pair, fair, others, usable, folder, items, order.benchmark)
    return found[0], folder


def compare_fairly(
    pair: Pair,
    fair: Fair,
    others: Mapping[str, Run],
    metrics: Sequence[Metric],
    out: str,
    items: Collection[str] | None,
    benchmark: Benchmark | None = None,
    scores: SetScores | None = None,
) -> tuple[ComparisonTables, ComparisonTables | None]:
    """The candidate against its baseline and the fair ones among `others`, and, in a folder of its
    own, against those of the guidance curve, if there are any; all are evaluated."""
    candidate, own = pair.runs
    known = {**fair.jobs, **fair.absent, **fair.same}
    asked = [name for name in (MATCHED, GUIDED, BOTH) if name in known]
    baselines = {OWN: own, **{name: others.get(name) for name in asked}}
    scores = scores or SetScores(items)
    comparison = compare_runs(
        candidate, baselines, metrics, out, fair.absent, items, scores, benchmark, same=fair.same
    )
    points = {name: others[name] for name in fair.points}
    if not points:
        return comparison, None
    curve = f"{out}/{tables.CURVE}"
    return comparison, compare_runs(candidate, points, metrics, curve, None, items, scores)


def planned_items(order: Order) -> tuple[list[Shard], set[str]]:
    """The shards of an order, and the ids of what it asks for."""
    prompts = load_prompts(
        order.prompts, limit=order.limit, column=order.column, folder=order.prompts_folder
    )
    texts, seeds = list(prompts.prompts), parse_seeds(order.seeds)
    return plan_shards(texts, seeds), set(asked_items(texts, seeds))


def made(
    order: Order, jobs: Mapping[str, Job], shards: list[Shard], say: Callable[[str], None]
) -> dict[str, Run]:
    """The runs of jobs, by role, with all their images."""
    for name, job in jobs.items():
        say(f"{name}: {job.spec.sampler}, {job.nfe} evaluations an image")
    runs = {
        name: open_run(job, f"{order.root}/{job.folder}", order.settings)
        for name, job in jobs.items()
    }
    generate_missing(order, jobs, runs, shards)
    return runs


class SetScores:
    """Set scores of runs over the same items, each computed once: an interval takes a while."""

    def __init__(self, items: Collection[str] | None) -> None:
        self._items = items
        self._known: dict[tuple[str, str], evaluation.SetScore] = {}

    def of(self, role: str, run: Run, metric: SetMetric) -> tables.RunScore:
        """As a comparison keeps it, for a run in this role."""
        key = (run.path, metric.label)
        if key not in self._known:
            self._known[key] = evaluation.set_score(run, metric, self._items)
        score = self._known[key]
        return tables.RunScore(
            role,
            metric_info(metric),
            score.value,
            score.n,
            score.low,
            score.high,
            score.reason or score.interval_reason,
            identity=score.identity,
            left_out=score.left_out,
            items=score.items,
        )


def scores_of(run: Run, metrics: Sequence[str]) -> dict[str, tables.RunScore]:
    """An evaluated run's score on each metric, over all its images; means weigh prompts alike."""
    made = make_metrics(metrics)
    single = [metric_info(metric) for metric in made if not isinstance(metric, SetMetric)]
    means = {}
    if single:
        _, rows = tabulate({tables.CANDIDATE: run}, single, by_prompt=by_prompt(made))
        means = {row.metric: row for row in rows}
    found = {}
    for metric in made:
        info = metric_info(metric)
        if isinstance(metric, SetMetric):
            found[f"{metric.call} {info.arrow}"] = SetScores(None).of(tables.CANDIDATE, run, metric)
            continue
        mean, images = means[info.name].mean, means[info.name].images
        found[f"{metric.call} {info.arrow}"] = tables.RunScore(
            tables.CANDIDATE, info, mean.value, images, mean.low, mean.high, mean.reason
        )
    return found


def compare_runs(
    candidate: Run,
    baselines: Mapping[str, Run | None],
    metrics: Sequence[Metric],
    out: str,
    absent: Mapping[str, str] | None = None,
    items: Collection[str] | None = None,
    set_scores: SetScores | None = None,
    benchmark: Benchmark | None = None,
    votes: Votes | None = None,
    same: Mapping[str, str] | None = None,
) -> ComparisonTables:
    """Compare evaluated runs on item metrics, with their set scores beside; writes `compare/`.

    `items` are the ids to compare; None: all that the runs have in common. `set_scores` of the same
    items, shared by several comparisons. `benchmark` may declare what is primary, and a margin.
    `votes` are people's: see `human_votes.preferences`. `same`: see `fairness.Fair`.
    """
    single = [metric_info(metric) for metric in metrics if not isinstance(metric, SetMetric)]
    if metrics and not single and votes is None:
        named = ", ".join(str(metric.call) for metric in metrics)
        raise HarnessError(
            f"{named} scores whole runs, and a comparison is of pairs of images: name a metric of "
            f"single images as well, --metrics contrast,{named.replace(' ', '')} perhaps. Then the "
            "values stand beside it, with their difference and its interval"
        )
    set_scores = set_scores or SetScores(items)
    runs = {tables.CANDIDATE: candidate, **{k: run for k, run in baselines.items() if run}}
    for run in runs.values():
        check_same_noise(candidate, run)
    return compare(
        candidate,
        baselines,
        single if votes is None else [*single, HUMAN],
        out,
        set_scores=[
            set_scores.of(name, run, metric)
            for metric in metrics
            if isinstance(metric, SetMetric)
            for name, run in runs.items()
        ],
        absent=absent,
        items=items,
        by_prompt=by_prompt(metrics),
        commands=[shlex.join(["harness", *sys.argv[1:]])],
        primary=_primary(benchmark, metrics) if benchmark else None,
        margin=benchmark.margin if benchmark else None,
        votes=votes,
        same=same,
    )


def compare_everybody(runs: Mapping[str, Run], metrics: Sequence[Metric], out: str) -> MatrixTable:
    """Each of three or more evaluated runs against each other one; writes below `out`/compare."""
    single = [metric_info(metric) for metric in metrics if not isinstance(metric, SetMetric)]
    for run in runs.values():
        check_same_noise(next(iter(runs.values())), run)
    found = compare_all(runs, single, by_prompt=by_prompt(metrics))
    found.save(out)
    return found


def _primary(benchmark: Benchmark, metrics: Sequence[Metric]) -> tables.Primary | None:
    """What the benchmark declares, unless its metric was left out."""
    declared = benchmark.primary
    if declared is None or parse_call(declared.metric).name not in METRICS:
        return None
    label = make_metric(declared.metric).label
    used = label in {metric.label for metric in metrics}
    return tables.Primary(label, declared.comparison) if used else None


def plan_jobs(order: Order) -> dict[str, Job]:
    """The candidate's job and its baseline's, by role.

    The baseline has the candidate's steps and guidance, unless its text says otherwise; where the
    order has none, nor has the result.
    """
    candidate = order.planned(order.sampler, order.benchmark.defaults)
    own = candidate.spec.sampler.params
    candidate.entry.revision()
    if order.baseline is None:
        return {tables.CANDIDATE: candidate}
    baseline = order.planned(order.baseline, {k: own[k] for k in ("steps", "guidance") if k in own})
    if candidate.spec == baseline.spec:
        raise HarnessError(
            f"{candidate.spec.sampler} would be compared with itself: choose another sampler or "
            "baseline"
        )
    return {tables.CANDIDATE: candidate, OWN: baseline}


def usable_metrics(names: Sequence[str], say: Callable[[str], None]) -> list[Metric]:
    """The metrics that can run here; what the others lack is said, or raised if none can."""
    metrics = make_metrics(names)
    problems = checks(metrics)
    usable = [metric for metric in metrics if metric.label not in problems]
    if problems and not usable:
        raise HarnessError("\n".join(problems.values()))
    for problem in problems.values():
        say(f"left out: {problem}")
    return usable


def generate_missing(
    order: Order, jobs: Mapping[str, Job], runs: Mapping[str, Run], shards: list[Shard]
) -> None:
    due = {name: missing(run, shards) for name, run in runs.items()}
    count = sum(len(some) for some in due.values())
    if not count:
        return
    workers = max(1, min(order.workers, count // _AT_LEAST))
    if workers > 1:
        _launch_generate(order, jobs, workers)
    else:
        work = [(jobs[n], runs[n], shard) for shard in shards for n in runs if shard in due[n]]
        images = sum(len(shard.prompts) for _, _, shard in work)
        with Progress(Ranks(), "generate", images) as progress:
            generate(work, order.settings, progress.add)
    for name, run in runs.items():
        if left := len(missing(run, shards)):
            raise HarnessError(f"{left} shards of {run.path} ({name}) were not made: run it again")


def _launch_generate(order: Order, jobs: Mapping[str, Job], workers: int) -> None:
    command = ["generate", "--model", order.model, "--prompts", order.prompts]
    command += ["--seeds", order.seeds, "--results", order.root]
    for job in jobs.values():
        command += ["--sampler", str(portable(job.spec.sampler))]
    given = {
        "--limit": order.limit,
        "--column": order.column,
        "--prompts-folder": order.prompts_folder,
        "--dtype": order.dtype,
        "--guide": order.guide,
        "--noise-key": order.benchmark.noise_key,
        "--size": order.size and f"{order.size[0]}x{order.size[1]}",
        "--batch-size": order.settings.batch_size,
    }
    for option, value in given.items():
        command += [] if value is None else [option, str(value)]
    _launch(order, command, workers)


def _launch(order: Order, command: list[str], workers: int) -> None:
    """A `harness` command under torchrun: one process a device or core."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += [f"--nproc-per-node={workers}", "-m", "harness", *command]
    launcher += ["--threads", str(order.settings.threads)]
    launcher += ["--device", order.device] if order.device else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(order.settings.threads)}
    if run_child(launcher, environment):
        raise HarnessError(
            f"harness {command[0]} stopped (see above); what is complete is kept: run it again"
        )


def evaluate_missing(order: Order, runs: Sequence[Run], metrics: list[str]) -> None:
    due = {run.path: evaluation.pending(run, metrics) for run in runs}
    if any(due.values()):
        _evaluate(order, runs, metrics, due)
    for run in runs:
        run.update_index()


def _evaluate(
    order: Order, runs: Sequence[Run], metrics: list[str], due: Mapping[str, list[str]]
) -> None:
    """Metrics of the shards that are due, by the runs' paths."""
    if order.workers > 1 and order.settings.device.startswith("cuda"):
        paths = [path for path, shards in due.items() if shards]
        _launch(order, ["evaluate", *paths, "--metrics", ",".join(metrics)], order.workers)
        return
    images = sum(
        run.read("images", shard, ["item_id"]).num_rows for run in runs for shard in due[run.path]
    )
    with Progress(Ranks(), "evaluate", images) as progress:
        for run in runs:
            evaluation.evaluate(
                run,
                metrics,
                device=order.settings.device,
                threads=order.settings.threads,
                progress=progress.add,
                shards=due[run.path],
            )


def metric_info(metric: Metric) -> MetricInfo:
    about = metric.about
    least, most = (end if math.isfinite(end) else None for end in about.range)
    return MetricInfo(metric.label, about.direction, about.title, about.description, least, most)


def by_prompt(metrics: Sequence[Metric]) -> dict[str, PromptMetric]:
    """Those metrics, by label, whose scores are computed from features when read."""
    return {metric.label: metric for metric in metrics if isinstance(metric, PromptMetric)}
