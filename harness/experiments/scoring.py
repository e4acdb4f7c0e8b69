"""Comparisons of evaluated runs, with their set scores, on the metrics that can run here."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from harness import evaluation
from harness.comparison.best_of import Rival
from harness.comparison.comparing import compare, tabulate
from harness.comparison.guidance_curve import with_curve
from harness.comparison.human_votes import preferences
from harness.comparison.matrix import compare_all
from harness.comparison.same_noise import check_same_noise
from harness.comparison.sequential import with_looks
from harness.core.call import Call
from harness.core.errors import HarnessError
from harness.metrics.base import Metric, PromptMetric, SetMetric, checks, make_metrics, named
from harness.store import comparison_tables as tables
from harness.store import files
from harness.store.comparison_tables import ComparisonTables, MetricInfo
from harness.store.matrix_table import MatrixTable
from harness.store.run import Run
from harness.store.votes import HUMAN, Votes


class SetScores:
    """Set scores of runs over the same items, each computed once: an interval takes a while."""

    def __init__(self, items: Collection[str] | None) -> None:
        self._items = items
        self._known: dict[tuple[str, str], evaluation.SetScore] = {}

    def of(self, role: str, run: Run, metric: SetMetric) -> tables.RunScore:
        """A run's score as a comparison records it, for a run in this role."""
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
    single = item_infos(made)
    means = {}
    if single:
        _, rows, _ = tabulate({tables.CANDIDATE: run}, single, by_prompt=by_prompt(made))
        means = {row.metric: row for row in rows}
    scores = {}
    for metric in made:
        info = metric_info(metric)
        if isinstance(metric, SetMetric):
            score = SetScores(None).of(tables.CANDIDATE, run, metric)
        else:
            mean, images = means[info.name].mean, means[info.name].images
            ends = (mean.low, mean.high, mean.reason)
            score = tables.RunScore(tables.CANDIDATE, info, mean.value, images, *ends)
        scores[f"{metric.call} {info.arrow}"] = score
    return scores


def compare_runs(
    candidate: Run,
    baselines: Mapping[str, Run | None],
    metrics: Sequence[Metric],
    out: str,
    absent: Mapping[str, str] | None = None,
    items: Collection[str] | None = None,
    set_scores: SetScores | None = None,
    *,
    primary: tables.Primary | None = None,
    margin: float | None = None,
    votes: Votes | None = None,
    same: Mapping[str, str] | None = None,
    population: str = tables.POPULATIONS[0],
    planned: int | None = None,
    curve_of: str | None = None,
    rival: Rival | str | None = None,
) -> ComparisonTables:
    """Compare evaluated runs on item metrics, with their set scores beside; writes `compare/`.

    `items` are the ids to compare; None: all that the runs have in common. `set_scores` of the same
    items, shared by several comparisons. `planned` is how many images a run was declared to have;
    `curve_of` the id of the run whose guidance curve the baselines are, which the candidate is then
    judged against as a whole, too. For the others see `comparison.compare`.

    What was looked at is logged beside the candidate: see `store.looks`. People's votes that lie in
    `out` or beside the candidate say how far each metric agrees with them.
    """

    def finish(compared: ComparisonTables) -> ComparisonTables:
        whole = with_curve(compared) if curve_of is not None else compared
        return with_looks(whole, planned, curve_of)

    single = item_infos(metrics)
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
        commands=typed_commands(),
        primary=primary,
        margin=margin,
        votes=votes,
        same=same,
        population=population,
        finish=finish,
        rival=rival,
        opinions=_opinions(candidate, baselines, out),
    )


def _opinions(candidate: Run, baselines: Mapping[str, Run | None], out: str) -> dict[str, Votes]:
    """The votes on the candidate and each baseline, from the comparison's folder and the run's."""
    folders = [out] if files.same_place(out, candidate.path) else [out, candidate.path]
    return {
        name: preferences(folders, candidate.spec.run_id, run.spec.run_id)
        for name, run in baselines.items()
        if run is not None
    }


def compare_each(runs: Mapping[str, Run], metrics: Sequence[Metric], out: str) -> MatrixTable:
    """Compare each of the evaluated runs with each other one; writes below `out`/compare."""
    for run in runs.values():
        check_same_noise(next(iter(runs.values())), run)
    matrix = compare_all(runs, item_infos(metrics), by_prompt=by_prompt(metrics))
    matrix.save(out)
    return matrix


def usable_metrics(names: Sequence[str | Call], say: Callable[[str], object]) -> list[Metric]:
    """The metrics that can run here; a message names what the others lack, an error if all do."""
    metrics = make_metrics(names)
    problems = checks(metrics)
    usable = [metric for metric in metrics if metric.label not in problems]
    told = [named(label, problem) for label, problem in problems.items()]
    if problems and not usable:
        raise HarnessError("\n".join(told))
    for problem in told:
        say(f"left out: {problem}")
    return usable


def metric_info(metric: Metric) -> MetricInfo:
    """A metric as comparisons record it."""
    about = metric.about
    least, most = (end if math.isfinite(end) else None for end in about.range)
    return MetricInfo(metric.label, about.direction, about.title, about.description, least, most)


def item_infos(metrics: Sequence[Metric]) -> list[MetricInfo]:
    """The metrics that score single images, as comparisons record them."""
    return [metric_info(metric) for metric in metrics if not isinstance(metric, SetMetric)]


def by_prompt(metrics: Sequence[Metric]) -> dict[str, PromptMetric]:
    """Metrics whose scores are computed from features when read, by label."""
    return {metric.label: metric for metric in metrics if isinstance(metric, PromptMetric)}


def typed_commands() -> list[str]:
    """The command line that this process was started with; none where another program calls."""
    program = Path(sys.argv[0])
    if program.stem != "harness" and program.parts[-2:] != ("harness", "__main__.py"):
        return []
    return [shlex.join(["harness", *sys.argv[1:]])]
