"""A benchmark of several samplers: each compared with the baseline, all in one table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.comparison.comparing import tabulate
from harness.comparison.resampling import resampled_set_scores
from harness.comparison.statistics import Floats
from harness.core.call import Call
from harness.experiments.benchmark import Benchmark, Candidate, load_published
from harness.experiments.contenders import candidates_of, contests_of
from harness.experiments.experiment import Contest, Experiment, declared
from harness.experiments.fair_baselines import GUIDED, OWN
from harness.experiments.inputs import Say
from harness.experiments.order import Order
from harness.experiments.pareto import with_fronts
from harness.experiments.scoring import (
    by_prompt,
    item_infos,
    metric_info,
    typed_commands,
    usable_metrics,
)
from harness.experiments.trials import decided_against, equal_rows, noted, with_holm
from harness.metrics.base import METRICS, ItemMetric, Metric, SetMetric
from harness.store import files
from harness.store.comparison_tables import CANDIDATE, ComparisonTables, Primary, RunScore
from harness.store.curve_rule import GUIDANCE_CURVE
from harness.store.results import Mean
from harness.store.run import Run
from harness.store.run_facts import RunFacts
from harness.store.survey_table import (
    Pictured,
    Point,
    PublishedNumber,
    Rate,
    Row,
    Score,
    SetGap,
    SurveyTable,
)


def survey(order: Order, say: Say) -> tuple[SurveyTable, str]:
    """All candidates of the order's benchmark against its baseline; the table and its folder."""
    return run_survey(order, candidates_of(order), say)


def run_survey(
    order: Order, candidates: Sequence[tuple[Candidate, Call]], say: Say, name: str = "survey"
) -> tuple[SurveyTable, str]:
    """Make and evaluate what is missing, compare each candidate; the table and its folder.

    The folder is called `name`, below the benchmark's.

    Everything that can be checked is checked, for all candidates, before weights are loaded. With
    a guidance curve every candidate is compared at matched guidance alone, too, and along the
    baseline's curve; without, so it is if that is the declared comparison. Each comparison lies in
    a folder of its own below the survey's.
    """
    notes: list[str] = []

    def remark(text: str) -> None:
        notes.append(text[:1].upper() + text[1:] + ".")
        say(text)

    contests = contests_of(order, candidates, remark)
    metrics = _metrics(order, remark)
    folder = f"{order.root}/{name}"
    for at, contest in enumerate(contests):
        assert contest.candidate is not None
        where = f"{at + 1}-{files.file_name(contest.candidate.name)}".rstrip("-")[:60]
        contest.out = f"{folder}/{where}"
    benchmark, curve = order.benchmark, order.fairness.curve or []
    experiment = Experiment(
        contests,
        metrics,
        order.grid,
        order.items,
        order.settings,
        replace(order.fairness, curve=curve),
        declared(benchmark, metrics),
        benchmark.margin,
        alone=meets_guidance_alone(order),
        population=benchmark.population,
        planned=order.planned,
        verifier=order.verifier(metrics),
    )
    experiment.conduct(say, remark)
    table = survey_of(benchmark, experiment, notes)
    table.save(folder)
    return table, folder


def meets_guidance_alone(order: Order) -> bool:
    """Whether candidates meet the baseline at matched guidance alone, too, not at matched cost."""
    primary = order.benchmark.primary
    return bool(order.fairness.curve) or (primary is not None and primary.comparison == GUIDED)


def _metrics(order: Order, say: Say) -> list[Metric]:
    """The benchmark's metrics that can run here; messages name what the others lack."""
    calls = [order.read(name) for name in order.metrics]
    for call in calls:
        if call.name not in METRICS:
            say(f"left out: {call}, of which this installation has no metric")
    known = [call for call in calls if call.name in METRICS]
    return usable_metrics(known, say) if known else []


def survey_of(benchmark: Benchmark, experiment: Experiment, notes: list[str]) -> SurveyTable:
    """The table of a finished experiment: baselines first, then the candidates."""
    contests, metrics = experiment.contests, experiment.metrics
    paired = item_infos(metrics)
    shown: dict[str, tuple[str, Run, Contest | None]] = {
        run.path: (label, run, None) for label, run in _baselines(contests)
    }
    for at, contest in enumerate(contests):
        assert contest.candidate is not None
        shown[f"{at}"] = (contest.candidate.name, contest.runs[CANDIDATE], contest)
    facts, means, resampled = tabulate(
        {key: run for key, (_, run, _) in shown.items()},
        paired,
        experiment.items,
        by_prompt(metrics),
    )
    rows = []
    sets = _set_scores(experiment, [run for _, run, _ in shown.values()])
    for at, (key, (label, run, shown_contest)) in enumerate(shown.items()):
        scores = _means(row for row in means if row.run == key)
        scores |= {
            name: Score.of(of_runs[at].estimate, of_runs[at].n) for name, of_runs in sets.items()
        }
        rows.append(_row(label, run, facts[key], scores, shown_contest, metrics))
    if (own := _benchmarks_own(contests)) is not None:
        numbers = _published(benchmark.baseline_published, metrics)
        rows = [
            replace(row, published=numbers) if row.baseline and row.path == own else row
            for row in rows
        ]
    directions = {metric.label: metric.about.direction for metric in metrics}
    firsts = equal_rows([run for _, run, _ in shown.values()], rows, experiment.items)
    rows = [noted(row, first, notes) for row, first in zip(rows, firsts, strict=True)]
    tried = [
        (first.path, decided_against(contest))
        for first, (_, _, contest) in zip(firsts, shown.values(), strict=True)
    ]
    judged = with_holm(rows, tried)
    resampled |= {name: _resampled(scores) for name, scores in sets.items()}
    rows, unit = with_fronts(judged, directions, experiment.fairness.unit, resampled)
    headline = paired[0].name if any(row.rates for row in rows) else None
    return SurveyTable(
        benchmark.name,
        benchmark.title,
        [metric_info(metric) for metric in metrics],
        headline,
        rows,
        notes,
        typed_commands(),
        unit,
        [*benchmark.vary],
        population=experiment.population,
        categories=len({prompt.category for prompt in experiment.grid.prompts} - {""}),
        margin=experiment.margin,
        pictures=_pictured(benchmark, experiment),
        verifier=experiment.verifier.label if isinstance(experiment.verifier, ItemMetric) else None,
    )


def _baselines(contests: Sequence[Contest]) -> list[tuple[str, Run]]:
    """The contests' baselines as they are, each once, by label; where their models differ, with
    these."""
    runs = [contest.runs[OWN] for contest in contests if OWN in contest.runs]
    several = len({run.spec.model for run in runs}) > 1
    named = []
    for run in {run.path: run for run in runs}.values():
        call, model = run.spec.sampler, f" on {run.spec.model}" if several else ""
        named.append((f"baseline {call.name} ({call.params.get('steps')} steps){model}", run))
    return named


def _benchmarks_own(contests: Sequence[Contest]) -> str | None:
    """The path of the baseline of candidates that replace neither it nor its model."""
    for contest in contests:
        one = contest.candidate
        if one and OWN in contest.runs and not (one.model or one.baseline or one.baseline_model):
            return contest.runs[OWN].path
    return None


def _pictured(benchmark: Benchmark, experiment: Experiment) -> list[Pictured]:
    """The first images of which the report shows every run's picture."""
    run = next(run for contest in experiment.contests for run in contest.runs.values())
    listed = [
        Pictured(prompt.text, seed, item)
        for shard in experiment.grid.shards(run.layout)
        for prompt, seed, item in zip(shard.prompts, shard.seeds, shard.item_ids, strict=True)
        if item in experiment.items
    ]
    return listed[: benchmark.pictures]


def _set_scores(experiment: Experiment, runs: Sequence[Run]) -> dict[str, list[RunScore]]:
    """The runs' scores on each metric of whole sets."""
    return {
        metric.label: [experiment.set_scores.of(CANDIDATE, run, metric) for run in runs]
        for metric in experiment.metrics
        if isinstance(metric, SetMetric)
    }


def _resampled(scores: Sequence[RunScore]) -> Floats:
    """Resampled set scores [draws, runs]; of other images than the first run's there are none."""
    left_out = [score.left_out if score.items == scores[0].items else () for score in scores]
    return resampled_set_scores([score.value for score in scores], left_out)


def _set_gaps(comparison: ComparisonTables) -> list[SetGap]:
    """Differences of set scores by setting; settings of one baseline share their numbers."""
    settings = {name: name for name in comparison.baselines} | comparison.same
    return [
        SetGap.of(row, setting, comparison.runs[compared].cost.nfe)
        for setting, compared in settings.items()
        for row in comparison.set_results
        if row.run == compared
    ]


def _means(rows: Iterable[Mean]) -> dict[str, Score]:
    return {row.metric: Score.of(row.mean, row.images, row.standing) for row in rows}


def _row(
    label: str,
    run: Run,
    facts: RunFacts,
    scores: dict[str, Score],
    contest: Contest | None,
    metrics: Sequence[Metric],
) -> Row:
    compared = contest.comparison if contest else None
    along = contest.along if contest else None
    candidate = contest.candidate if contest else None
    return Row(
        label=label,
        sampler=str(run.spec.sampler),
        model=run.spec.model,
        guide=run.spec.guide,
        path=run.path,
        baseline=contest is None,
        nfe=facts.cost.nfe,
        images=facts.images,
        failed=sum(facts.failed.values()),
        scores=scores,
        rates=[
            *(_rates(compared) if compared else []),
            *(_curve_rates(along) if along else []),
        ],
        absent=compared.absent if compared else {},
        published=_published(candidate.published if candidate else None, metrics),
        seconds=facts.cost.seconds,
        macs=facts.cost.macs,
        guidance=(compared.candidate if compared else facts).guidance.value,
        series=(candidate and candidate.series) or label,
        point=contest.point if contest else {},
        folder=contest.out.rpartition("/")[2] if contest and contest.out and compared else None,
        curve=_curve(along) if along else [],
        curve_rules=along.curve if along else [],
        set_gaps=[gap for tables in (compared, along) if tables for gap in _set_gaps(tables)],
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
    """Winning rates by setting; settings whose baseline is the same run share their numbers."""
    settings = {name: name for name in comparison.baselines} | comparison.same
    return [
        _found(comparison, setting, metric.name, compared)
        for setting, compared in settings.items()
        for metric in comparison.metrics
    ]


def _curve_rates(along: ComparisonTables) -> list[Rate]:
    """Winning rates over the curve as a whole, which the rules are of."""
    least = next(iter(along.baselines))
    return [
        _found(along, GUIDANCE_CURVE, rule.metric, next(iter(rule.against), least))
        for rule in along.curve
    ]


def _found(comparison: ComparisonTables, setting: str, metric: str, compared: str) -> Rate:
    """A winning rate as a survey keeps it, over a run of the cost of `compared`."""
    role = "primary" if comparison.primary == Primary(metric, setting) else "exploratory"
    facts, changing = comparison.runs[compared], comparison.changing(setting, metric)
    found = Rate.of(comparison.rate(setting, metric), setting, facts.cost.nfe, role, changing)
    tries = facts.choice.n if facts.choice else None
    return replace(found, look=comparison.look(setting, metric), tries=tries)


def _published(name: str | None, metrics: Sequence[Metric]) -> list[PublishedNumber]:
    """The published numbers of this name, if any, under the names that scores have here."""
    if name is None:
        return []
    published = load_published(name)
    labels = {metric.call.name: metric.label for metric in reversed(metrics)}
    about = (published.source, published.n, published.nfe, published.differs)
    return [
        PublishedNumber(labels.get(metric, metric), value, won, *about)
        for numbers, won in ((published.scores, False), (published.winning_rates, True))
        for metric, value in numbers.items()
    ]
