"""Comparison of a candidate run with baseline runs: winning rates, means, costs, set scores."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from harness.comparison import agreement, best_of, human_votes, pairs, rating
from harness.comparison.categories import check_population
from harness.comparison.cost import run_cost
from harness.comparison.drawn_pairs import drawn
from harness.comparison.guidance_scales import guided_run, run_guidance
from harness.comparison.joined import Joined
from harness.comparison.resampling import resampled_means
from harness.comparison.same_noise import check_same_noise
from harness.comparison.set_differences import set_results
from harness.comparison.statistics import Floats
from harness.comparison.summary import mean_scores
from harness.core.errors import HarnessError, unknown
from harness.metrics.base import PromptMetric
from harness.store import files
from harness.store.comparison_tables import (
    BEST_OF,
    CANDIDATE,
    POPULATIONS,
    ComparisonTables,
    MetricInfo,
    Primary,
    RunScore,
)
from harness.store.curve_rule import GUIDANCE_CURVE
from harness.store.equal_pictures import same_pictures
from harness.store.pair_table import PairTable, Part
from harness.store.results import Agreement, Mean, Result
from harness.store.run import Run
from harness.store.run_facts import RunFacts
from harness.store.votes import HUMAN, Votes


def compare(
    candidate: Run,
    baselines: Mapping[str, Run | None],
    metrics: Sequence[MetricInfo],
    out: str,
    set_scores: Sequence[RunScore] = (),
    absent: Mapping[str, str] | None = None,
    commands: Sequence[str] = (),
    *,
    items: Collection[str] | None = None,
    by_prompt: Mapping[str, PromptMetric] | None = None,
    primary: Primary | None = None,
    margin: float | None = None,
    votes: Votes | None = None,
    same: Mapping[str, str] | None = None,
    population: str = POPULATIONS[0],
    finish: Callable[[ComparisonTables], ComparisonTables] = lambda tables: tables,
    rival: best_of.Rival | str | None = None,
    opinions: Mapping[str, Votes] | None = None,
) -> ComparisonTables:
    """Compare `candidate` with every baseline and write `compare/` below `out`.

    `baselines` names the comparisons ("own", "matched cost", ...); None marks one that was not made
    and `absent` may say why. The first of `metrics` is the headline. `set_scores` are listed beside
    the runs that they name ("candidate" or a comparison). `items` names the images to compare
    ("p0/3" is prompt p0 at seed 3), which every run must hold; nothing else of the runs is read or
    counted. Without it all are compared: only items that both sides have are paired, the rest is
    counted. Set scores are taken as given: compute them over the same items. `by_prompt` are those
    of the metrics, by name, that are computed here from stored features. Of imported images that
    are not declared paired, each is compared with every image of its prompt on the other side.
    `primary` is the one result that was declared before looking; everything else is exploratory.
    `margin` is how far from one half a winning rate may be and still not matter: see
    `decisions.verdict`. `votes` are people's on pairs of images, where the metric HUMAN is among
    `metrics` and there is one baseline: only pairs with a vote count on it, and the share of votes
    decides each. `same` names those of the comparisons that are not made because their baseline is
    the very run of another one. `population` is what the results over all categories speak of, see
    POPULATIONS: with `categories` their intervals and p-values are clustered by category, and the
    verdicts come from these. `finish` makes of the tables what is written. `rival` adds a
    comparison with the best of several pictures of a cheaper run, or as a text why there is none:
    see `best_of.contest`. `opinions` are people's votes by comparison, with which the metrics are
    said to agree or not: see `agreement`.

    Raises HarnessError without metrics or baselines, for a baseline that is the candidate's own
    folder, for runs without scores of the images that they hold or with scores by another version
    of a metric, without common items, different texts for one prompt id or different noise, for
    a set score of another run, and where categories are no population: too few, or shared noise.
    """
    present = {name: run for name, run in baselines.items() if run is not None}
    _check(candidate, present, metrics, set_scores)
    _check_declared(primary, margin, baselines, metrics)
    sides = {CANDIDATE: candidate, **present}
    scored = _read(sides, metrics, items, by_prompt)
    tabled = {name: side.items for name, side in scored.items()}
    if HUMAN in metrics:
        tabled = human_votes.with_votes(tabled, votes or {})
    named = ["" if pd.isna(n) else str(n) for n in tabled[CANDIDATE]["category"].unique()]
    check_population(population, named, candidate.spec.noise_key, POPULATIONS)
    plain = guided_run([*present.values()])
    runs = {
        name: _facts(run, scored[name], None if run is plain else plain)
        for name, run in sides.items()
    }
    shared, same = candidate.spec.noise_key == "seed", dict(same or {})
    decides = primary and (primary.metric, same.get(primary.comparison, primary.comparison))

    def judge(joined: Joined, metric: MetricInfo, name: str) -> Iterator[Result]:
        role = "primary" if (metric.name, name) == decides else "exploratory"
        met = rating.Pairs.of(joined, metric, shared, population)
        return rating.results(met, metric, name, role, margin)

    found = _draw(sides, tabled, metrics, votes, judge, opinions or {}, shared)
    more = best_of.Contested()
    if rival is not None:
        more = best_of.contest(rival, scored[CANDIDATE], metrics, items, by_prompt, margin)
    why = {name: (absent or {}).get(name, "no baseline run") for name in baselines}
    result = ComparisonTables(
        runs=runs | more.runs,
        metrics=list(metrics),
        pairs=PairTable([*found.pairs, *more.pairs]),  # type: ignore[arg-type]
        results=found.results + more.results,
        means=mean_scores(runs, tabled, metrics),
        set_results=set_results(runs, set_scores),
        absent={name: why[name] for name in why if name not in present and name not in same}
        | more.absent,
        commands=list(commands),
        primary=primary,
        margin=margin,
        same=same,
        population=population,
        equal=_equal(candidate, present, scored, items),
        agreements=found.agreements,
    )
    result = finish(result)
    result.save(out)
    return result


def _read(
    sides: Mapping[str, Run],
    metrics: Sequence[MetricInfo],
    items: Collection[str] | None,
    by_prompt: Mapping[str, PromptMetric] | None,
) -> dict[str, pairs.Scored]:
    """The items of all sides with their scores, by the same versions of the metrics."""
    read = [metric for metric in metrics if metric != HUMAN]
    scored = {n: pairs.read_items(run, read, items, by_prompt) for n, run in sides.items()}
    for side in scored.values():
        pairs.check_same_metrics(scored[CANDIDATE], side)
    return scored


@dataclass
class _Drawn:
    """The pairs of all comparisons, what they say, and how far metrics agree with people."""

    pairs: list[Part] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)


def _draw(
    sides: Mapping[str, Run],
    tabled: Mapping[str, pd.DataFrame],
    metrics: Sequence[MetricInfo],
    votes: Votes | None,
    judge: Callable[[Joined, MetricInfo, str], Iterator[Result]],
    opinions: Mapping[str, Votes],
    shared: bool,
) -> _Drawn:
    """The candidate's items against those of every other side, on every metric."""
    found, candidate = _Drawn(), sides[CANDIDATE]
    for name, run in sides.items():
        if name == CANDIDATE:
            continue
        join = pairs.join if candidate.paired and run.paired else pairs.cross
        joined = join(tabled[CANDIDATE], tabled[name], (candidate.path, run.path))
        if HUMAN in metrics:
            joined = human_votes.voted(joined, votes or {})
        for metric in metrics:
            found.pairs += drawn(joined, metric, name)
            found.results += judge(joined, metric, name)
        if votes_on := opinions.get(name):
            found.agreements += agreement.agreements(
                joined, votes_on, found.results, metrics, name, shared
            )
    return found


def _equal(
    candidate: Run,
    baselines: Mapping[str, Run],
    scored: Mapping[str, pairs.Scored],
    items: Collection[str] | None,
) -> list[str]:
    """The baselines of the very same pictures, which are read where all scores are the same."""

    own = scored[CANDIDATE].items
    return [
        name
        for name, run in baselines.items()
        if _same_scores(own, scored[name].items) and same_pictures(candidate, run, items)
    ]


def _same_scores(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    """Whether the items and all of their scores are the same."""
    joined = Joined(a, b, *pairs.same_items(a, b))
    if not len(a) == len(b) == len(joined):
        return False
    return all(
        np.array_equal(joined.of_a(str(name)), joined.of_b(str(name)), equal_nan=True)
        for name in a
        if str(name).startswith("value:")
    )


def tabulate(
    sides: Mapping[str, Run],
    metrics: Sequence[MetricInfo],
    items: Collection[str] | None = None,
    by_prompt: Mapping[str, PromptMetric] | None = None,
) -> tuple[dict[str, RunFacts], list[Mean], dict[str, Floats]]:
    """Facts and mean scores of runs by name, without comparing them; and by metric, the runs' means
    [1000, runs] over resampled prompts.

    `items` and `by_prompt` as for `compare`.
    """
    scored = {n: pairs.read_items(run, metrics, items, by_prompt) for n, run in sides.items()}
    tabled = {name: side.items for name, side in scored.items()}
    runs = {name: _facts(run, scored[name], None) for name, run in sides.items()}
    resampled = {metric.name: resampled_means(tabled, metric) for metric in metrics}
    return runs, mean_scores(runs, tabled, metrics), resampled


def _facts(run: Run, scored: pairs.Scored, plain: Run | None) -> RunFacts:
    """A run's facts; `plain` is a run of plain guidance over the same items, for `run_guidance`."""
    cost = run_cost(scored.selection, scored.items)
    return RunFacts.of(run, scored.items, cost, run_guidance(scored.selection, plain))


def _check(
    candidate: Run,
    baselines: Mapping[str, Run],
    metrics: Sequence[MetricInfo],
    set_scores: Sequence[RunScore],
) -> None:
    if not metrics:
        raise HarnessError("nothing to compare: name at least one metric that scores single images")
    if not baselines:
        raise HarnessError("nothing to compare with: there is no baseline run")
    if reserved := {CANDIDATE, BEST_OF} & baselines.keys():
        raise HarnessError(f"a comparison cannot be called {min(reserved)!r}: choose another name")
    if any(files.same_place(candidate.path, run.path) for run in baselines.values()):
        raise HarnessError(
            f"{candidate.path} would be compared with itself: name another run as baseline"
        )
    for score in set_scores:
        if score.run not in {CANDIDATE, *baselines}:
            raise HarnessError(
                f"a {score.metric.name} was given for run {score.run!r}, which is not compared; "
                f"compared are {', '.join([CANDIDATE, *baselines])}"
            )
    for name in {score.metric.name for score in set_scores}:
        made_by = {s.identity for s in set_scores if s.metric.name == name} - {None}
        if len(made_by) > 1:
            raise HarnessError(
                f"the runs were scored on {name!r} by different versions, or weights, of it: "
                "evaluate all of them first (harness evaluate)"
            )
    for run in baselines.values():
        check_same_noise(candidate, run)


def _check_declared(
    primary: Primary | None,
    margin: float | None,
    baselines: Mapping[str, Run | None],
    metrics: Sequence[MetricInfo],
) -> None:
    if margin is not None and not 0 < margin < 0.5:
        raise HarnessError(f"the margin of equivalence is {margin:g}: it must be in (0, 0.5)")
    if primary is None:
        return
    if primary.metric not in (names := [metric.name for metric in metrics]):
        raise unknown("metric", primary.metric, names, "the declared primary result")
    if primary.comparison not in (known := {*baselines, GUIDANCE_CURVE}):
        raise unknown("comparison", primary.comparison, known, "the declared primary result")
