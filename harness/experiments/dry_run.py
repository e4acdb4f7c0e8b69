"""What bench, sweep, tune and ablate would make, before anything is made or downloaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError, NotHere
from harness.core.shards import Grid, Prompt, parse_seeds
from harness.experiments.ablation import ablated
from harness.experiments.bench import bench_contest
from harness.experiments.benchmark import Candidate
from harness.experiments.contenders import candidates_of, contests_of
from harness.experiments.experiment import Contest
from harness.experiments.foresight import runs_of
from harness.experiments.inputs import Say
from harness.experiments.order import Order, make_order
from harness.experiments.survey import meets_guidance_alone
from harness.experiments.sweep import swept
from harness.experiments.tuning import as_typed, trials_of
from harness.experiments.varying import Vary
from harness.fetch.download import without_downloads
from harness.metrics.base import METRICS, checks, make_metrics
from harness.prompts.base import PROMPT_SETS
from harness.prompts.split import DEV_SHARE
from harness.runs.folder import Settings
from harness.runs.forecast import Forecast, ForeseenRun, forecast
from harness.runs.plan import PlannedRun

Given = Mapping[str, Any]
"""The options of `make_order`."""


@without_downloads()
def dry_bench(sampler: str | None, given: Given, say: Say) -> Forecast:
    """What a bench, or a benchmark of several candidates, would make."""
    order = make_order(sampler, **given)
    if order.sampler is None:
        return _surveyed(order, candidates_of(order), say)
    contest = bench_contest(order, order.read(order.sampler))
    return _of_order(order, _stage([contest], order))


@without_downloads()
def dry_sweep(samplers: Sequence[str], vary: Vary, given: Given, say: Say) -> Forecast:
    """What a sweep would make."""
    order = make_order(**given)
    calls = {text: order.read(text) for text in samplers}
    order, candidates, _ = swept(order, calls, vary)
    return _surveyed(order, candidates, say)


@without_downloads()
def dry_ablation(sampler: str, changes: Sequence[str], given: Given, say: Say) -> Forecast:
    """What an ablation would make."""
    order, candidates, _ = ablated(make_order(sampler, **given), sampler, changes)
    return _surveyed(order, candidates, say)


@without_downloads()
def dry_tuning(
    sampler: str, vary: Vary, baseline_vary: Vary | None, given: Given, say: Say
) -> Forecast:
    """What a tuning would make; the comparison is that of the samplers as they are typed, as it is
    not known which settings are best."""
    order = make_order(sampler, **given)
    runs: list[ForeseenRun] = []
    for dev, call, grid in trials_of(order, sampler, vary, baseline_vary):
        trial, candidates, _ = swept(dev, {str(call): call}, grid)
        contests = contests_of(trial, candidates, say)
        runs += _stage(contests, trial)
    test, candidate = as_typed(order, sampler)
    best = _stage([bench_contest(test, candidate)], test)
    return _of_order(order, [*runs, *(replace(run, sure=False) for run in best)])


def _surveyed(order: Order, candidates: Sequence[tuple[Candidate, Call]], say: Say) -> Forecast:
    contests = contests_of(order, candidates, say)
    curve = replace(order.fairness, curve=order.fairness.curve or [])
    order = replace(order, fairness=curve)
    return _of_order(order, _stage(contests, order, alone=meets_guidance_alone(order)))


def _stage(contests: Sequence[Contest], order: Order, *, alone: bool = True) -> list[ForeseenRun]:
    """The runs of contests over an order's prompts and seeds."""
    work, _ = _work(order)
    return runs_of(contests, order.fairness, work, alone=alone)


def _work(order: Order) -> tuple[Grid | int, str | None]:
    """The work of an order's runs; where its prompts are not here, how many images each has, and
    what is missing."""
    try:
        return order.grid, None
    except NotHere as error:
        images = published_count(order.prompts, order.limit) * len(parse_seeds(order.seeds))
        return images, f"prompts {order.prompts}: {error}"


def published_count(prompts: str, limit: int | None) -> int:
    """How many prompts a registered set, or a split of it, has that is not here: about."""
    call = parse_call(prompts)
    count = PROMPT_SETS.get(call.name).prompts
    share = {"dev": DEV_SHARE, "test": 1 - DEV_SHARE}.get(str(call.params.get("split")), 1.0)
    return min(round(share * count), limit or count)


def _of_order(order: Order, runs: Sequence[ForeseenRun]) -> Forecast:
    """The forecast of an order's runs, with what of its prompts, models and metrics is missing."""
    work, lacking = _work(order)
    prompts = () if isinstance(work, int) else work.prompts
    missing = [*([lacking] if lacking else []), *_metrics_missing(order)]
    return forecast_here(runs, order.settings, order.results, prompts, missing)


def forecast_here(
    runs: Sequence[ForeseenRun],
    settings: Settings,
    results: str,
    prompts: Sequence[Prompt],
    missing: Sequence[str],
) -> Forecast:
    """A forecast that also says what the runs' models lack here, and times those without a rate."""
    jobs = {run.job.planner: run.job for run in runs}
    lacking = [reason for job in jobs.values() if (reason := _model_missing(job))]
    notes = [f"evaluations are {one.lent}" for one in jobs if one.lent]
    text = prompts[0].text if prompts else None
    told = [*lacking, *missing]
    return forecast(runs, settings, results, missing=told, notes=notes, text=text)


def _model_missing(job: PlannedRun) -> str | None:
    """What a run's model lacks on this machine; None where it is here."""
    try:
        job.entry.decodable(job.model.params)
        for revision in (job.entry.revision, *job.others.values()):
            revision()
    except HarnessError as error:
        return f"model {job.model.name}: {error}"
    return None


def _metrics_missing(order: Order) -> list[str]:
    """The metrics that cannot run here, each with its reason."""
    calls = [order.read(name) for name in order.metrics]
    made = make_metrics([call for call in calls if call.name in METRICS])
    unknown = [f"metric {call}: not installed" for call in calls if call.name not in METRICS]
    return [*unknown, *(f"metric {label}: {why}" for label, why in checks(made).items())]
