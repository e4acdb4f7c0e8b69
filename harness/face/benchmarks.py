"""Experiments: runs made, evaluated and compared in one call, reusing what exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from harness.experiments import ablation, tuning
from harness.experiments import survey as surveys
from harness.experiments.bench import run_bench
from harness.experiments.dry_run import dry_ablation, dry_bench, dry_sweep, dry_tuning
from harness.experiments.inputs import Names, Say, names_of, to_stderr
from harness.experiments.options import OF_ABLATION, OF_SWEEP, OF_TUNING, OPTIONS, with_options
from harness.experiments.order import Order, make_order
from harness.experiments.sweep import read_list, run_sweep
from harness.experiments.varying import parse_vary
from harness.face.answers import Comparison, Survey, Tuned
from harness.runs.forecast import Forecast

A = TypeVar("A", Comparison, Survey, Tuned)
Vary = str | Sequence[str] | Mapping[str, Sequence[Any]]


@with_options(OPTIONS)
def bench(
    sampler: str | None = None, *, dry_run: bool = False, note: Say = to_stderr, **options: Any
) -> Comparison | Survey | Forecast:
    """Does a sampler beat the baseline? Make, evaluate and compare what is missing.

    At own settings, at equal cost, at equal guidance, at both, and along the baseline's guidance
    curve: see `harness.experiments.options.Options` for the options, which replace what the
    benchmark says. Without a sampler, the benchmark's own candidate; a benchmark of several
    candidates gives a Survey. With `dry_run` nothing is made or downloaded: a Forecast says what
    would be.
    """
    if dry_run:
        return dry_bench(sampler, options, note)
    order = make_order(sampler, **options)
    if order.sampler is None:
        return _told(Survey(*surveys.survey(order, note), root=order.results), order)
    found = run_bench(order, order.read(order.sampler), note)
    return _told(Comparison(*found, root=order.results), order)


@with_options(OPTIONS)
def survey(*, note: Say = to_stderr, **options: Any) -> Survey:
    """All candidates of a benchmark, each against its baseline, in one table."""
    order = make_order(**options)
    return _told(Survey(*surveys.survey(order, note), root=order.results), order)


@with_options(OF_SWEEP)
def sweep(
    sampler: Names = (),
    *,
    vary: Vary = (),
    list_: str | Path | None = None,
    cost: str = "nfe",
    dry_run: bool = False,
    note: Say = to_stderr,
    **options: Any,
) -> Survey | Forecast:
    """Samplers with varied parameters: score and cost of each, and the Pareto front.

    `vary` is `"steps=5,10,20"`, several such texts, or `{"steps": [5, 10, 20]}`: all combinations.
    `list_` is a file with one more sampler a line; `cost`, what the front is against, is nfe, macs
    or seconds. `dry_run` as of `bench`.
    """
    samplers = names_of(sampler) + (read_list(str(list_)) if list_ else [])
    grid, given = parse_vary(vary), {**options, "match": cost}
    if dry_run:
        return dry_sweep(samplers, grid, given, note)
    order = make_order(**given)
    found = run_sweep(order, {text: order.read(text) for text in samplers}, grid, note)
    return _told(Survey(*found, root=order.results), order)


@with_options(OF_TUNING)
def tune(
    sampler: str,
    *,
    vary: Vary,
    baseline_vary: Vary | None = None,
    dry_run: bool = False,
    note: Say = to_stderr,
    **options: Any,
) -> Tuned | Forecast:
    """Both sides at their best: tuned alike on the dev prompts, compared on the test prompts.

    The first metric chooses among the combinations of `vary` (as of `sweep`) for the candidate, and
    of `baseline_vary`, as many of other parameters, for the baseline. `limit` is for each split.
    `dry_run` as of `bench`.
    """
    grid, other = parse_vary(vary), None if baseline_vary is None else parse_vary(baseline_vary)
    if dry_run:
        return dry_tuning(sampler, grid, other, options, note)
    order = make_order(sampler, **options)
    found = tuning.tune(order, sampler, grid, other, note)
    return _told(Tuned(*found, root=order.results), order)


@with_options(OF_ABLATION)
def ablate(
    sampler: str,
    *,
    change: Names,
    dry_run: bool = False,
    note: Say = to_stderr,
    **options: Any,
) -> Survey | Forecast:
    """What does each part of a sampler do? Each change against the sampler as it is.

    A change is a text such as "rounds=2" or "eta=1, steps=10": a row each, on the same prompts and
    noise; one that costs more also meets the unchanged sampler at its cost, and at its guidance.
    `dry_run` as of `bench`.
    """
    changes = [change] if isinstance(change, str) else list(change)
    if dry_run:
        return dry_ablation(sampler, changes, options, note)
    order = make_order(sampler, **options)
    return _told(Survey(*ablation.ablate(order, sampler, changes, note), root=order.results), order)


def _told(answer: A, order: Order) -> A:
    """The answer, whose tables the tracker has got, if the user named one."""
    tracker = order.settings.tracker
    if isinstance(answer, Comparison):
        tracker.table("rates", answer.rates, ["comparison", "metric", "category"])
        tracker.table("scores", answer.summary, ["run", "metric"])
    elif isinstance(answer, Survey):
        tracker.table("points", answer.points, ["run", "metric"])
    tracker.close()
    return answer
