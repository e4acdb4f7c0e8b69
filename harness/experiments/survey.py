"""A benchmark of several samplers: every one against the baseline, and all in one table."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.comparison.comparing import tabulate
from harness.comparison.decisions import holm
from harness.core.call import parse_call
from harness.core.errors import HarnessError
from harness.core.shards import Shard
from harness.engine.resolve import Mistyped
from harness.experiments import bench
from harness.experiments.bench import Order, SetScores
from harness.experiments.benchmark import Candidate, load_published
from harness.experiments.fair_baselines import (
    GUIDED,
    OWN,
    Fair,
    Pair,
    check_fairness,
    fair_baselines,
)
from harness.experiments.pareto import with_fronts
from harness.experiments.varying import expand, series_of, told
from harness.metrics.base import METRICS, Metric, SetMetric
from harness.runs.folder import open_run
from harness.runs.plan import Job
from harness.store import files
from harness.store.comparison_tables import CANDIDATE, ComparisonTables, Primary, RunFacts
from harness.store.results import Mean
from harness.store.run import Run
from harness.store.survey_table import Point, PublishedNumber, Rate, Row, Score, SurveyTable


@dataclass
class _Entry:
    """A candidate with its jobs and runs by role, and what came of them."""

    candidate: Candidate
    order: Order
    jobs: dict[str, Job]
    point: dict[str, Any]
    fair: Fair = field(default_factory=Fair)
    runs: dict[str, Run] = field(default_factory=dict)
    folder: str | None = None  # of the comparison, below the survey's
    comparison: ComparisonTables | None = None
    along: ComparisonTables | None = None

    @property
    def pair(self) -> Pair:
        return Pair(self.jobs[CANDIDATE], self.jobs[OWN], (self.runs[CANDIDATE], self.runs[OWN]))


def run_survey(
    order: Order, say: Callable[[str], None], name: str = "survey"
) -> tuple[SurveyTable, str]:
    """Generate and evaluate what is missing, compare each candidate; the table and its folder.

    The folder is called `name`, below the benchmark's.

    Everything that can be checked is checked, for all candidates, before weights are loaded. With
    weights in `order.curve` every candidate is compared at matched guidance alone, too, and along
    the baseline's guidance curve; without, so it is if that is the declared comparison. Each
    comparison lies in a folder of its own below the survey's.
    """
    notes: list[str] = []

    def remark(text: str) -> None:
        notes.append(text[:1].upper() + text[1:] + ".")
        say(text)

    check_fairness(order.match, order.match_guidance)
    entries = [e for one in order.benchmark.candidates for e in _planned(order, one, remark)]
    metrics = _metrics(order.metrics, remark)
    shards, items = bench.planned_items(order)
    for entry in entries:
        job = entry.jobs[CANDIDATE]
        say(f"{entry.candidate.name}: {job.spec.sampler}, {job.nfe} evaluations an image")
    _make(entries, shards)
    for entry in entries:
        _add_fair(entry, items, remark)
    _make(entries, shards)
    _score(order, entries, metrics)
    folder, set_scores = f"{order.root}/{name}", SetScores(items)
    _compare(entries, metrics, folder, items, set_scores)
    survey = _tabled(order, entries, metrics, items, set_scores, notes)
    survey.save(folder)
    return survey, folder


def _compare(
    entries: Sequence[_Entry],
    metrics: Sequence[Metric],
    folder: str,
    items: Collection[str],
    scores: SetScores,
) -> None:
    """Each candidate against its baselines, where images are scored one by one."""
    if all(isinstance(metric, SetMetric) for metric in metrics):
        return
    for entry, name in zip(entries, _folders(entries), strict=True):
        if OWN not in entry.runs:
            continue
        entry.folder = name
        entry.comparison, entry.along = bench.compare_fairly(
            entry.pair,
            entry.fair,
            entry.runs,
            metrics,
            f"{folder}/{name}",
            items,
            entry.order.benchmark,
            scores,
        )


def _folders(entries: Sequence[_Entry]) -> list[str]:
    """A name for each entry's comparison that is safe as a folder's, and its own."""
    names = [files.file_name(entry.candidate.name) for entry in entries]
    return [f"{at + 1}-{name}".rstrip("-")[:60] for at, name in enumerate(names)]


def _planned(order: Order, candidate: Candidate, say: Callable[[str], None]) -> list[_Entry]:
    """The candidate, or with the parameters that the benchmark varies, its points.

    Points that are impossible, a guidance interval upside down perhaps, are left out; all of them
    is a mistake, and so is a value of the wrong kind.
    """
    call, vary = parse_call(candidate.sampler), order.benchmark.vary
    if not vary:
        return [_plan(order, candidate, {})]
    entries: list[_Entry] = []
    refused: list[HarnessError] = []
    for point, asked in expand(call, vary):
        series = series_of(candidate.series or candidate.label or str(call), point)
        label = f"{candidate.name}: {told(point)}"
        update = {"sampler": str(asked), "label": label, "series": series}
        try:
            entries.append(_plan(order, candidate.model_copy(update=update), point))
        except Mistyped:
            raise
        except HarnessError as error:
            refused.append(error)
    if not entries:
        raise refused[0]
    for reason in refused:
        say(f"left out: {reason}")
    return entries


def _plan(order: Order, candidate: Candidate, point: dict[str, Any]) -> _Entry:
    own = replace(
        order,
        sampler=candidate.sampler,
        model=candidate.model or order.model,
        guide=candidate.guide or order.guide,
        baseline=candidate.baseline or order.baseline,
    )
    try:
        return _Entry(candidate, own, bench.plan_jobs(own), point)
    except HarnessError as error:
        kind = Mistyped if isinstance(error, Mistyped) else HarnessError
        raise kind(f"candidate {candidate.name!r}: {error}") from None


def _add_fair(entry: _Entry, items: Collection[str], say: Callable[[str], None]) -> None:
    """Plan the baseline at the candidate's cost and guidance, now that both are made."""
    if OWN not in entry.jobs:
        return
    order = entry.order
    fair = fair_baselines(
        entry.pair, order.planned, order.match, order.curve or [], items, order.match_guidance
    )
    declared = order.benchmark.primary
    if not order.curve and not (declared and declared.comparison == GUIDED):
        fair.leave_out(GUIDED)  # as many runs again, to say little more
    entry.fair = fair
    entry.jobs |= fair.all_jobs
    for note in fair.notes:
        say(f"{entry.candidate.name}: {note}")


def _metrics(names: Sequence[str], say: Callable[[str], None]) -> list[Metric]:
    """Those of the benchmark's metrics that can run here; what the others lack is said."""
    known = []
    for name in names:
        if parse_call(name).name in METRICS:
            known.append(name)
        else:
            say(f"left out: {name}, of which this installation has no metric")
    return bench.usable_metrics(known, say) if known else []


def _make(entries: Sequence[_Entry], shards: list[Shard]) -> None:
    """Missing pictures, with one loading of weights for all runs of a model and guide."""
    groups: dict[tuple[str, str | None], list[_Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.order.model, entry.order.guide), []).append(entry)
    for group in groups.values():
        for entry in group:
            order = entry.order
            for role, job in entry.jobs.items():
                entry.runs[role] = open_run(job, f"{order.root}/{job.folder}", order.settings)
        jobs = {entry.runs[role].path: job for entry in group for role, job in entry.jobs.items()}
        runs = {run.path: run for entry in group for run in entry.runs.values()}
        bench.generate_missing(group[0].order, jobs, runs, shards)


def _score(order: Order, entries: Sequence[_Entry], metrics: Sequence[Metric]) -> None:
    runs = {run.path: run for entry in entries for run in entry.runs.values()}
    if metrics:
        bench.evaluate_missing(order, list(runs.values()), [str(m.call) for m in metrics])


def _tabled(
    order: Order,
    entries: Sequence[_Entry],
    metrics: Sequence[Metric],
    items: Collection[str],
    set_scores: SetScores,
    notes: list[str],
) -> SurveyTable:
    paired = [bench.metric_info(m) for m in metrics if not isinstance(m, SetMetric)]
    shown: dict[str, tuple[str, Run, _Entry | None]] = {}
    for entry in entries:
        if own := entry.runs.get(OWN):
            call = own.spec.sampler
            steps = call.params.get("steps")
            shown.setdefault(own.path, (f"baseline {call.name} ({steps} steps)", own, None))
    for at, entry in enumerate(entries):
        shown[f"{at}"] = (entry.candidate.name, entry.runs[CANDIDATE], entry)
    facts, means = tabulate(
        {key: run for key, (_, run, _) in shown.items()}, paired, items, bench.by_prompt(metrics)
    )
    rows = []
    for key, (label, run, shown_entry) in shown.items():
        scores = _means(row for row in means if row.run == key)
        for metric in metrics:
            if isinstance(metric, SetMetric):
                found = set_scores.of(CANDIDATE, run, metric)
                scores[metric.label] = Score(
                    found.value, found.low, found.high, found.n, found.reason
                )
        rows.append(_row(label, run, facts[key], scores, shown_entry, metrics))
    directions = {metric.label: metric.about.direction for metric in metrics}
    rows, unit = with_fronts(_with_holm(rows), directions, order.match)
    headline = paired[0].name if any(row.rates for row in rows) else None
    infos = [bench.metric_info(metric) for metric in metrics]
    command = shlex.join(["harness", *sys.argv[1:]])
    about = order.benchmark
    return SurveyTable(
        about.name, about.title, infos, headline, rows, notes, [command], unit, [*about.vary]
    )


def _means(rows: Iterable[Mean]) -> dict[str, Score]:
    return {row.metric: Score.of(row.mean, row.images) for row in rows}


def _row(
    label: str,
    run: Run,
    facts: RunFacts,
    scores: dict[str, Score],
    entry: _Entry | None,
    metrics: Sequence[Metric],
) -> Row:
    compared = entry.comparison if entry else None
    along = entry.along if entry else None
    return Row(
        label=label,
        sampler=str(run.spec.sampler),
        model=run.spec.model,
        guide=run.spec.guide,
        path=run.path,
        baseline=entry is None,
        nfe=facts.cost.nfe,
        images=facts.images,
        failed=sum(facts.failed.values()),
        scores=scores,
        rates=_rates(compared) if compared else [],
        absent=compared.absent if compared else {},
        published=_published(entry.candidate, metrics) if entry else [],
        seconds=facts.cost.seconds,
        macs=facts.cost.macs,
        guidance=(compared.candidate if compared else facts).guidance.value,
        series=(entry and entry.candidate.series) or label,
        point=entry.point if entry else {},
        folder=entry.folder if entry else None,
        curve=_curve(along) if along else [],
    )


def _curve(along: ComparisonTables) -> list[Point]:
    """The baseline's scores along its guidance scale, and the candidate's winning rates."""
    rates = _rates(along)

    def scores(role: str) -> dict[str, Score]:
        sets = {r.metric: Score.of(r.value, r.value.n) for r in along.set_results if r.run == role}
        return _means(row for row in along.means if row.run == role) | sets

    return [
        Point(
            baseline.sampler.params["guidance"],
            str(baseline.sampler),
            baseline.cost.nfe,
            scores(role),
            [rate for rate in rates if rate.setting == role],
        )
        for role, baseline in along.baselines.items()
    ]


def _rates(comparison: ComparisonTables) -> list[Rate]:
    """By setting; those whose baseline is the same run have the same numbers."""
    settings = {name: name for name in comparison.baselines} | comparison.same
    return [
        Rate.of(
            comparison.rate(setting, metric.name),
            setting,
            comparison.runs[compared].cost.nfe,
            "primary" if comparison.primary == Primary(metric.name, setting) else "exploratory",
        )
        for setting, compared in settings.items()
        for metric in comparison.metrics
    ]


def _with_holm(rows: list[Row]) -> list[Row]:
    """Verdicts on declared primary results take account of how many candidates were tried."""
    declared = [rate for row in rows for rate in row.rates if rate.role == "primary"]
    adjusted = dict(zip(map(id, declared), holm([r.p_value for r in declared]), strict=True))

    def judged(rate: Rate) -> Rate:
        if (p_value := adjusted.get(id(rate))) is None:
            return rate
        lost = rate.verdict in ("wins", "loses") and p_value >= 0.05
        return replace(rate, p_holm=p_value, verdict="undecided" if lost else rate.verdict)

    return [replace(row, rates=[judged(rate) for rate in row.rates]) for row in rows]


def _published(candidate: Candidate, metrics: Sequence[Metric]) -> list[PublishedNumber]:
    """The candidate's published numbers, under the names that its scores have here."""
    if candidate.published is None:
        return []
    found = load_published(candidate.published)
    labels = {metric.call.name: metric.label for metric in reversed(metrics)}
    about = (found.source, found.n, found.nfe, found.differs)
    return [
        PublishedNumber(labels.get(metric, metric), value, won, *about)
        for numbers, won in ((found.scores, False), (found.winning_rates, True))
        for metric, value in numbers.items()
    ]
