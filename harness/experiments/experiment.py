"""An experiment: runs to make, comparisons between them, and the declared result.

Whatever is compared goes this one way: runs are made, then those that depend on what the first
recorded (the baseline at the candidate's cost and guidance), all are evaluated and compared. What
exists already is neither made nor computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from harness.comparison.best_of import Rival
from harness.comparison.categories import check_population
from harness.core.call import Call, parse_call
from harness.core.errors import HarnessError, NotHere
from harness.core.shards import Grid
from harness.experiments.benchmark import Benchmark, Candidate
from harness.experiments.fair_baselines import (
    BOTH,
    GUIDED,
    MATCHED,
    OWN,
    Fair,
    Fairness,
    fair_baselines,
)
from harness.experiments.foresight import announced
from harness.experiments.inputs import Say
from harness.experiments.pricing import FairPair
from harness.experiments.rivals import make_rival
from harness.experiments.scoring import SetScores, compare_runs
from harness.experiments.stages import evaluate_missing, generate_missing
from harness.metrics.base import METRICS, ItemMetric, Metric, SetMetric, checks, make_metric
from harness.runs.folder import Settings, open_run
from harness.runs.plan import PlannedRun, Planner
from harness.store import comparison_tables as tables
from harness.store.comparison_tables import CANDIDATE, ComparisonTables
from harness.store.curve_rule import GUIDANCE_CURVE
from harness.store.run import Run


@dataclass
class Contest:
    """A candidate and its baselines by role: planned, made, and compared.

    The roles are "candidate", "own" (the baseline as it is; none: nothing is compared) and those of
    `fair`, which are planned when these two are made. `runs` that are there from the beginning
    exist already, and none is made. `origins` say by role where steps and guidance come from.
    `place` gives a run's folder; the comparison is written into
    `out`, the candidate's run where that is None. `candidate` and `point` identify it among
    several.
    """

    planned: dict[str, PlannedRun]
    place: Callable[[PlannedRun], str]
    candidate: Candidate | None = None
    point: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    fair: Fair = field(default_factory=Fair)
    origins: Mapping[str, str] = field(default_factory=dict)
    out: str | None = None
    comparison: ComparisonTables | None = None
    along: ComparisonTables | None = None

    @property
    def label(self) -> str:
        """Prefix of messages: the candidate's name among several, empty for a single one."""
        return f"{self.candidate.name}: " if self.candidate else ""

    @property
    def pair(self) -> FairPair:
        jobs, runs = self.planned, self.runs
        return FairPair(jobs[CANDIDATE], jobs[OWN], (runs[CANDIDATE], runs[OWN]))


@dataclass
class Experiment:
    """Contests to conduct over `grid`, and to compare on the images `items` and `metrics`.

    `primary` is the declared result, `margin` the margin of equivalence: see `comparison.compare`.
    With `alone`, matched guidance alone is compared, too, without matched cost. `population` is
    what results speak of, see POPULATIONS: a HarnessError where there are too few categories.
    `planned` is how many images a run was declared to have, where a primary result was.
    `verifier` chooses
    the best of several pictures of each baseline as it is, for one comparison more; as a text, why
    nothing does.
    """

    contests: list[Contest]
    metrics: Sequence[Metric]
    grid: Grid
    items: Collection[str]
    settings: Settings
    fairness: Fairness
    primary: tables.Primary | None = None
    margin: float | None = None
    alone: bool = True
    population: str = tables.POPULATIONS[0]
    planned: int | None = None
    verifier: ItemMetric | str | None = None
    set_scores: SetScores = field(init=False)

    def __post_init__(self) -> None:
        self.set_scores = SetScores(self.items)
        named = {prompt.category for prompt in self.grid.prompts}
        for contest in self.contests:
            noise_key = contest.planned[CANDIDATE].spec.noise_key
            check_population(self.population, named, noise_key, tables.POPULATIONS)

    @property
    def paired(self) -> bool:
        """Whether any metric scores single images, which are compared in pairs."""
        return not all(isinstance(metric, SetMetric) for metric in self.metrics)

    def conduct(self, say: Say, remark: Say) -> None:
        """Make, evaluate and compare what is missing; the contests hold the results.

        Progress goes to `say`, and what could not be done to `remark`.
        """
        with self.settings.crew:
            self._conduct(say, remark)

    def _conduct(self, say: Say, remark: Say) -> None:
        self._name_new(say)
        how = (self.contests, self.fairness, self.grid, self.settings)
        for line in announced(*how, alone=self.alone):
            say(line)
        self._make()
        for contest in self.contests:
            self._derive(contest, remark)
        self._name_new(say)
        self._make()
        runs = {run.path: run for contest in self.contests for run in contest.runs.values()}
        if self.metrics:
            calls = [metric.call for metric in self.metrics]
            evaluate_missing(list(runs.values()), calls, self.settings)
        if isinstance(self.verifier, ItemMetric):
            chosen = {c.runs[OWN].path: c.runs[OWN] for c in self.contests if OWN in c.runs}
            evaluate_missing(list(chosen.values()), [self.verifier.call], self.settings)
        for contest in self.contests:
            if self.paired and OWN in contest.runs:
                self._compare(contest)

    def _name_new(self, say: Say) -> None:
        """Name the runs to come, with where their settings come from, each origin once; of several
        candidates these alone."""
        told: set[str] = set()
        for contest in self.contests:
            for role, one in contest.planned.items():
                if role in contest.runs or (contest.candidate and role != CANDIDATE):
                    continue
                name = contest.label or f"{role}: "
                remark = f" ({one.remark})" if one.remark else ""
                say(f"{name}{one.spec.sampler}, {one.cost_text}{remark}")
                if (origin := contest.origins.get(role)) and origin not in told:
                    say(f"  {origin}")
                    told.add(origin)

    def _make(self) -> None:
        """Make the planned runs that are missing; one that several contests share is made once."""
        made: dict[str, tuple[PlannedRun, Run]] = {}
        for contest in self.contests:
            for role, one in contest.planned.items():
                if role in contest.runs:
                    continue
                where = contest.place(one)
                if where not in made:
                    made[where] = (one, open_run(one, where, self.settings))
                contest.runs[role] = made[where][1]
        generate_missing(made.values(), self.grid, self.settings)

    def _derive(self, contest: Contest, remark: Say) -> None:
        """Plan the baseline at the candidate's cost and guidance, now that both are made."""
        if OWN not in contest.planned:
            return
        planner = contest.planned[OWN].planner
        fair = fair_baselines(contest.pair, planner.plan, self.fairness, self.items)
        if not self.alone:
            fair.leave_out(GUIDED)  # as many runs again, for little information
        contest.fair = fair
        contest.planned |= fair.all_jobs
        for note in fair.notes:
            remark(f"{contest.label}{note}")

    def _compare(self, contest: Contest) -> None:
        """The candidate against its baseline and the fair ones, and, in a folder of its own,
        against those of the guidance curve, if there are any."""
        fair, runs, out = contest.fair, contest.runs, contest.out or contest.runs[CANDIDATE].path
        known = {**fair.jobs, **fair.absent, **fair.same}
        asked = [OWN, *(name for name in (MATCHED, GUIDED, BOTH) if name in known)]

        def against(baselines: Mapping[str, Run | None], out: str, **more: Any) -> ComparisonTables:
            return compare_runs(
                runs[CANDIDATE],
                baselines,
                self.metrics,
                out,
                items=self.items,
                set_scores=self.set_scores,
                population=self.population,
                margin=self.margin,
                planned=self.planned,
                **more,
            )

        absent = dict(fair.absent)
        if self._along_decides and not fair.points:
            asked.append(GUIDANCE_CURVE)
            absent[GUIDANCE_CURVE] = "no guidance curve was run"  # notes say why

        contest.comparison = against(
            {name: runs.get(name) for name in asked},
            out,
            absent=absent,
            primary=self.primary,
            same=fair.same,
            rival=self._rival(runs[OWN]),
        )
        if points := {name: runs[name] for name in fair.points}:
            contest.along = against(
                points,
                f"{out}/{tables.CURVE}",
                primary=self.primary if self._along_decides else None,
                curve_of=runs[OWN].spec.run_id,
            )

    @property
    def _along_decides(self) -> bool:
        """Whether the declared result is that against the guidance curve."""
        return self.primary is not None and self.primary.comparison == GUIDANCE_CURVE

    def _rival(self, own: Run) -> Rival | str | None:
        """The best of several pictures of the baseline as it is, or why there is none."""
        if not isinstance(self.verifier, ItemMetric):
            return self.verifier
        reason = checks([self.verifier], own.spec).get(self.verifier.label)
        return reason or make_rival(own, self.verifier, self.metrics, self.fairness.unit)


def planned_pair(
    planner: Planner,
    candidate: Call | PlannedRun,
    baseline: Call | PlannedRun | None,
    defaults: Mapping[str, Any],
    against: Planner | None = None,
) -> dict[str, PlannedRun]:
    """The candidate's run and its baseline's, by role; that is planned by `against`, if given.

    The baseline has the candidate's steps and guidance, unless its text sets others. Raises
    HarnessError where the two are one.
    """
    first = planner.plan(candidate, defaults)
    with suppress(NotHere):  # a dry run names what is missing
        planner.entry.revision()
    if baseline is None:
        return {CANDIDATE: first}
    other = against or planner
    second = other.plan(baseline, _as(first, defaults))
    if first.spec == second.spec:
        raise HarnessError(
            f"{first.spec.sampler} would be compared with itself: choose another sampler or "
            "baseline"
        )
    with suppress(NotHere):
        other.entry.revision()
    return {CANDIDATE: first, OWN: second}


def _as(candidate: PlannedRun, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The steps and guidance that a baseline has unless its text sets others."""
    own = candidate.spec.sampler.params
    shared = {name: own.get(name, defaults.get(name)) for name in ("steps", "guidance")}
    return {name: value for name, value in shared.items() if value is not None}


def origins_of(
    planner: Planner,
    candidate: Call | PlannedRun,
    baseline: Call | PlannedRun | None,
    benchmark: Benchmark,
) -> dict[str, str]:
    """Where steps and guidance of a `planned_pair` come from, by role, in words."""
    source = f"benchmark {benchmark.name}"
    found = {CANDIDATE: planner.origins(candidate, benchmark.defaults, source)}
    if baseline is not None:
        first = planner.plan(candidate, benchmark.defaults)
        shared = _as(first, benchmark.defaults)
        found[OWN] = planner.origins(baseline, shared, "as the candidate")
    return found


def declared(benchmark: Benchmark, metrics: Sequence[Metric]) -> tables.Primary | None:
    """The benchmark's declared primary result; None where its metric was left out."""
    primary = benchmark.primary
    if primary is None or (call := parse_call(primary.metric)).name not in METRICS:
        return None
    label = make_metric(call).label
    used = label in {metric.label for metric in metrics}
    return tables.Primary(label, primary.comparison) if used else None
