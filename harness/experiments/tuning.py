"""Both samplers tuned alike on one split of the prompts, and compared on the other, once."""

from __future__ import annotations

from dataclasses import replace

from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.experiments.bench import run_bench
from harness.experiments.inputs import Say, short_hash
from harness.experiments.order import Order
from harness.experiments.sweep import run_sweep
from harness.experiments.varying import Vary, expand
from harness.prompts.split import with_split
from harness.runs.plan import PlannedRun
from harness.store import files
from harness.store.comparison_tables import ComparisonTables
from harness.store.survey_table import Row, SurveyTable


def tune(
    order: Order, sampler: str, vary: Vary, baseline_vary: Vary | None, say: Say
) -> tuple[ComparisonTables, str, str, str, int]:
    """Tune candidate and baseline alike on the dev prompts, compare them on the test prompts.

    Returns the comparison and its folder, the chosen candidate and baseline, and the number of
    trials for each. The first metric chooses among the combinations of `vary`, for the candidate
    and for the baseline; that has its own `baseline_vary` where parameters differ, with as many
    combinations, so that no side gets more trials. `limit` is for each split. What was chosen is
    kept below the test split's folder: a warning says when another choice was made on the same
    split before, as a split that is used again decides nothing.
    """
    with order.settings.crew:
        return _tune(order, sampler, vary, baseline_vary, say)


def _tune(
    order: Order, sampler: str, vary: Vary, baseline_vary: Vary | None, say: Say
) -> tuple[ComparisonTables, str, str, str, int]:
    chosen: list[str] = []
    trials = trials_of(order, sampler, vary, baseline_vary)
    count = len(expand(*trials[0][1:]))
    for dev, call, grid in trials:
        survey, _ = run_sweep(dev, {str(call): call}, grid, say)
        if len(survey.rows) < count:
            raise HarnessError(f"{call.name}: {survey.notes[0]} Both sides need all their trials")
        row = best(survey)
        chosen.append(row.sampler)
        say(f"best of {count} on {survey.metrics[0].label}, dev split: {row.label}")
    candidate, baseline = map(order.planner().known, chosen)
    test = _on_test(order, baseline)
    _note_use(test, chosen, say)
    return *run_bench(test, candidate, say), chosen[0], chosen[1], count


def trials_of(
    order: Order, sampler: str, vary: Vary, baseline_vary: Vary | None
) -> list[tuple[Order, Call, Vary]]:
    """For candidate and baseline: the order on the dev prompts, the sampler, and what is varied.

    Raises HarnessError where one side has more trials than the other.
    """
    sides = _sides(order, sampler)
    if not vary:
        raise HarnessError("nothing to tune: give --vary, for example --vary guidance=1,2,4,8")
    grids = (vary, vary if baseline_vary is None else baseline_vary)
    trials = [len(expand(call, grid)) for call, grid in zip(sides, grids, strict=True)]
    if trials[0] != trials[1]:
        raise HarnessError(
            f"{trials[0]} trials for the candidate and {trials[1]} for the baseline: give both as "
            "many"
        )
    dev = replace(
        order,
        prompts=with_split(order.prompts, "dev"),
        fairness=replace(order.fairness, curve=None),
    )
    return [(dev, call, grid) for call, grid in zip(sides, grids, strict=True)]


def as_typed(order: Order, sampler: str) -> tuple[Order, Call]:
    """The order on the test prompts and the candidate, both sides as typed instead of the best."""
    candidate, baseline = _sides(order, sampler)
    return _on_test(order, baseline), candidate


def _on_test(order: Order, baseline: Call | PlannedRun) -> Order:
    return replace(order, prompts=with_split(order.prompts, "test"), baseline=baseline)


def _sides(order: Order, sampler: str) -> tuple[Call, Call]:
    """Candidate and baseline as typed; the baseline has the candidate's steps by default."""
    candidate, baseline = order.read(sampler), order.baseline
    if not isinstance(baseline, Call):
        raise HarnessError("nothing to tune against: give --baseline")
    planned = order.planner().plan(candidate, order.benchmark.defaults)
    steps = planned.spec.sampler.params["steps"]
    return candidate, Call(baseline.name, {"steps": steps, **baseline.params})


def best(survey: SurveyTable) -> Row:
    """The row with the best score on the first metric."""
    metric = survey.metrics[0]
    known = {at: row.scores[metric.name].value for at, row in enumerate(survey.rows)}
    scores = {at: value for at, value in known.items() if value is not None}
    if not scores:
        reason = survey.rows[0].scores[metric.name].reason
        raise HarnessError(f"nothing to choose by: {metric.label} is undefined ({reason})")
    sign = 1 if metric.direction == "higher" else -1
    return survey.rows[max(scores, key=lambda at: sign * scores[at])]


def _note_use(test: Order, chosen: list[str], say: Say) -> None:
    """Record this choice beside the test split's runs; warn of other choices made on it before."""
    folder = files.join(test.root, "tuned")
    record = {"candidate": chosen[0], "baseline": chosen[1], "model": test.model}
    name = f"{short_hash(record)}.json"
    if others := [one for one in files.list_files(folder, ".json") if one != name]:
        say(
            f"warning: the test split was used for {len(others)} other choice"
            f"{'s' * (len(others) > 1)} (see {folder}): only its first use is free of choosing"
        )
    files.write_json(files.join(folder, name), record)
