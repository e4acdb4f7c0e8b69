"""Experiments: runs made, evaluated and compared in one call, what is there already used again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.experiments.options import (
    OF_ABLATION,
    OF_SWEEP,
    OF_TUNING,
    OPTIONS,
    with_options,
)
from harness.face.inputs import Names, Say, names_of, seeds_text, size_of, to_stderr
from harness.face.results import Comparison, Survey, Tuned

Vary = str | Sequence[str] | Mapping[str, Sequence[Any]]


@with_options(OPTIONS)
def bench(
    sampler: str | None = None, *, note: Say = to_stderr, **options: Any
) -> Comparison | Survey:
    """Does a sampler beat the baseline? Make, evaluate and compare what is missing.

    At own settings, at equal cost, at equal guidance, at both, and along the baseline's guidance
    curve: see `harness.experiments.options.Options` for the options, which replace what the
    benchmark says. Without a sampler, the benchmark's own candidate; a benchmark of several
    candidates gives a Survey.
    """
    from harness.experiments import bench as of_one
    from harness.experiments import benchmark

    given = _plain(options)
    named = (given.get("bench"), given.get("model"), given.get("tiny", False))
    if sampler is None and benchmark.chosen(*named).candidates:
        return survey(note=note, **given)
    return Comparison(*of_one.bench(sampler, say=note, **given))


@with_options(OPTIONS)
def survey(*, note: Say = to_stderr, **options: Any) -> Survey:
    """All candidates of a benchmark, each against its baseline, in one table."""
    from harness.experiments import survey as of_several

    return Survey(*of_several.survey(say=note, **_plain(options)))


@with_options(OF_SWEEP)
def sweep(
    sampler: Names = (),
    *,
    vary: Vary = (),
    list_: str | Path | None = None,
    cost: str = "nfe",
    note: Say = to_stderr,
    **options: Any,
) -> Survey:
    """Samplers with varied parameters: score and cost of each, and the Pareto front.

    `vary` is `"steps=5,10,20"`, several such texts, or `{"steps": [5, 10, 20]}`: all combinations.
    `list_` is a file with one more sampler a line; `cost`, what the front is against, is nfe, macs
    or seconds.
    """
    from harness.experiments import sweep as sweeping

    own = {"vary": _varied(vary), "list_": list_ and str(list_), "cost": cost}
    return Survey(*sweeping.sweep(names_of(sampler), **own, say=note, **_plain(options)))


@with_options(OF_TUNING)
def tune(
    sampler: str,
    *,
    vary: Vary,
    baseline_vary: Vary | None = None,
    note: Say = to_stderr,
    **options: Any,
) -> Tuned:
    """Both sides at their best: tuned alike on the dev prompts, compared on the test prompts.

    The first metric chooses among the combinations of `vary` (as of `sweep`) for the candidate, and
    of `baseline_vary`, as many of other parameters, for the baseline. `limit` is for each split.
    """
    from harness.experiments import tuning

    other = None if baseline_vary is None else _varied(baseline_vary)
    own = {"vary": _varied(vary), "baseline_vary": other}
    found = tuning.tune(sampler, **own, say=note, **_plain(options))
    sides = (found.candidate.sampler, found.baseline.sampler)
    return Tuned(found.comparison, found.folder, *sides, trials=found.trials)


@with_options(OF_ABLATION)
def ablate(sampler: str, *, change: Names, note: Say = to_stderr, **options: Any) -> Survey:
    """What does each part of a sampler do? Each change against the sampler as it is.

    A change is a text such as "rounds=2" or "eta=1, steps=10": a row each, on the same prompts and
    noise; one that costs more also meets the unchanged sampler at its cost, and at its guidance.
    """
    from harness.experiments import ablation

    changes = [change] if isinstance(change, str) else list(change)
    return Survey(*ablation.ablate(sampler, change=changes, say=note, **_plain(options)))


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the experiments take them: seeds and paths as text, sizes as numbers."""
    found = {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}
    if found.get("seeds") is not None:
        found["seeds"] = seeds_text(found["seeds"])
    return found | {"size": size_of(found["size"])} if "size" in found else found


def _varied(vary: Vary) -> Any:
    if isinstance(vary, Mapping):
        return {name: list(values) for name, values in vary.items()}
    return [vary] if isinstance(vary, str) else list(vary)
