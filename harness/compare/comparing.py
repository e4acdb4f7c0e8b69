"""One candidate against named baselines: pairs, winning rates, means with costs, set scores."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from harness.compare import pairs, statistics
from harness.compare.cost import run_cost
from harness.compare.statistics import Estimate
from harness.errors import HarnessError
from harness.metrics.base import PromptMetric
from harness.store import comparison as tables
from harness.store.comparison import CANDIDATE, Comparison, MetricInfo, RunFacts, SetScore
from harness.store.run import Run


def compare(
    candidate: Run,
    baselines: Mapping[str, Run | None],
    metrics: Sequence[MetricInfo],
    out: str,
    set_scores: Sequence[SetScore] = (),
    absent: Mapping[str, str] | None = None,
    commands: Sequence[str] = (),
    *,
    items: Collection[str] | None = None,
    by_prompt: Mapping[str, PromptMetric] | None = None,
) -> Comparison:
    """Compare `candidate` with every baseline and write `compare/` below `out`.

    `baselines` names the comparisons ("own", "matched cost", ...); None marks one that was not made
    and `absent` may say why. The first of `metrics` is the headline. `set_scores` are stated beside
    the runs that they name ("candidate" or a comparison). `items` names the images to compare
    ("p0/3" is prompt p0 at seed 3), which every run must hold; nothing else of the runs is read or
    counted. Without it all are compared: only items that both sides have are paired, the rest is
    counted. Set scores are stated as given: take them over the same items. `by_prompt` are those of
    the metrics, by name, that are computed here from stored features. Of imported images that are
    not declared paired, each is compared with every image of its prompt on the other side.

    Raises HarnessError without metrics or baselines, for a baseline that is the candidate's own
    folder, for runs without scores of the images that they hold or with scores by another version
    of a metric, without common items, different texts for one prompt id or different noise, and for
    a set score of another run.
    """
    present = {name: run for name, run in baselines.items() if run is not None}
    _check(present, metrics, set_scores)
    for run in present.values():
        _check_other(candidate, run)
        _check_noise(candidate, run)
    sides = {CANDIDATE: candidate, **present}
    scored = {n: pairs.read_items(run, metrics, items, by_prompt) for n, run in sides.items()}
    for name, run in present.items():
        _check_identities(candidate, run, scored[CANDIDATE], scored[name])
    tabled = {name: side.items for name, side in scored.items()}
    runs = {
        name: RunFacts.of(run, tabled[name], run_cost(scored[name].selection, tabled[name]))
        for name, run in sides.items()
    }
    paired: list[pd.DataFrame] = []
    rates: list[dict[str, Any]] = []
    for name in present:
        join = pairs.join if candidate.paired and present[name].paired else pairs.cross
        joined = join(tabled[CANDIDATE], tabled[name], (candidate.path, present[name].path))
        for metric in metrics:
            frame = pairs.outcomes(joined, metric, name)
            paired.append(frame)
            rates.extend(_rates(frame, joined, metric))
    why = {name: (absent or {}).get(name, "no baseline run") for name in baselines}
    result = Comparison(
        runs=runs,
        metrics=list(metrics),
        pairs=pd.concat(paired, ignore_index=True),
        rates=tables.typed(rates, tables.RATES),
        summary=_summary(runs, tabled, metrics),
        set_scores=_set_scores(runs, set_scores),
        absent={name: reason for name, reason in why.items() if name not in present},
        commands=list(commands),
    )
    result.save(out)
    return result


def tabulate(
    sides: Mapping[str, Run],
    metrics: Sequence[MetricInfo],
    items: Collection[str] | None = None,
    by_prompt: Mapping[str, PromptMetric] | None = None,
) -> tuple[dict[str, RunFacts], pd.DataFrame]:
    """Facts and mean scores (a table as SUMMARY) of runs by name, each by itself.

    `items` and `by_prompt` as for `compare`.
    """
    scored = {n: pairs.read_items(run, metrics, items, by_prompt) for n, run in sides.items()}
    tabled = {name: side.items for name, side in scored.items()}
    runs = {
        name: RunFacts.of(run, tabled[name], run_cost(scored[name].selection, tabled[name]))
        for name, run in sides.items()
    }
    return runs, _summary(runs, tabled, metrics)


def _check(
    baselines: Mapping[str, Run], metrics: Sequence[MetricInfo], set_scores: Sequence[SetScore]
) -> None:
    if not metrics:
        raise HarnessError("nothing to compare: name at least one metric that scores single images")
    if not baselines:
        raise HarnessError("nothing to compare with: there is no baseline run")
    if CANDIDATE in baselines:
        raise HarnessError(f"a comparison cannot be called {CANDIDATE!r}: choose another name")
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


def _check_other(candidate: Run, baseline: Run) -> None:
    if _place(candidate) == _place(baseline):
        raise HarnessError(
            f"{candidate.path} would be compared with itself: name another run as baseline"
        )


def _place(run: Run) -> str:
    return run.path if "://" in run.path else os.path.realpath(run.path)


def _check_noise(candidate: Run, baseline: Run) -> None:
    """Pairs are only pairs if both sides start from the same noise; of imports it is declared."""
    if candidate.imported or baseline.imported:
        return
    for name in ("noise_key", "size"):
        a, b = getattr(candidate.spec, name), getattr(baseline.spec, name)
        if a != b:
            raise HarnessError(
                f"{candidate.path} and {baseline.path} do not start from the same noise: their "
                f"{name} is {a!r} and {b!r}. Generate the baseline with the candidate's {name}"
            )


def _check_identities(candidate: Run, baseline: Run, a: pairs.Scored, b: pairs.Scored) -> None:
    for metric, identity in a.identities.items():
        if identity != b.identities[metric]:
            raise HarnessError(
                f"{candidate.path} and {baseline.path} were scored on {metric!r} by different "
                "versions, or weights, of it: evaluate both first (harness evaluate)"
            )


def _rates(
    frame: pd.DataFrame, joined: pairs.Joined, metric: MetricInfo
) -> Iterator[dict[str, Any]]:
    """Rows of the winning rates: over all, then by category in alphabetical order."""
    yield {
        **_rate(frame, metric),
        "category": None,
        "a_unpaired": joined.a_alone,
        "b_unpaired": joined.b_alone,
    }
    named = frame[frame["category"].fillna("") != ""]
    for category, part in named.groupby("category", sort=True):
        yield {**_rate(part, metric), "category": category, "a_unpaired": 0, "b_unpaired": 0}


def _rate(frame: pd.DataFrame, metric: MetricInfo) -> dict[str, Any]:
    codes = pd.factorize(frame["prompt_id"])[0]
    counts = frame["outcome"].notna().to_numpy()
    outcome = frame["outcome"].to_numpy()[counts]
    rate = statistics.winning_rate(outcome, codes[counts])
    p_value, p_method = statistics.sign_flip_p(outcome, codes[counts])
    gap = (frame["a_value"] - frame["b_value"]).to_numpy()
    scored = ~pd.isna(gap)
    difference = statistics.mean(gap[scored], codes[scored])
    return {
        "comparison": frame["comparison"].iloc[0],
        "metric": metric.name,
        "direction": metric.direction,
        "prompts": rate.prompts,
        "pairs": len(outcome),
        "wins": int((outcome == 1).sum()),
        "ties": int((outcome == 0.5).sum()),
        "losses": int((outcome == 0).sum()),
        "a_failed": int(frame["a_failed"].notna().sum()),
        "b_failed": int(frame["b_failed"].notna().sum()),
        "left_out": int((~counts).sum()),
        "winning_rate": rate.value,
        "low": rate.low,
        "high": rate.high,
        "effective": rate.effective,
        "p_value": p_value,
        "p_method": p_method,
        "verdict": verdict(rate, p_value),
        "reason": _why(rate, frame),
        "difference": difference.value,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "difference_pairs": int(scored.sum()),
        "difference_prompts": difference.prompts,
        "difference_reason": difference.reason,
    }


def verdict(rate: Estimate, p_value: float | None) -> str:
    """wins or loses where the interval leaves out one half and p < 0.05, else undecided.

    Both are asked for, since either alone is too sure at times: the interval where few pairs
    differ, the p-value where seeds of a prompt disagree in the two directions unalike. undefined
    where there is no interval.
    """
    if rate.low is None or rate.high is None or p_value is None:
        return "undefined"
    if p_value >= 1 - statistics.LEVEL:
        return "undecided"
    return "wins" if rate.low > 0.5 else "loses" if rate.high < 0.5 else "undecided"


def _why(rate: Estimate, frame: pd.DataFrame) -> str | None:
    """The reason of a null; where every pair was left out, the commonest reason for that."""
    reasons = frame["left_out"].dropna()
    if rate.value is None and len(reasons):
        return f"no pair has a score on both sides ({reasons.mode().iloc[0]})"
    return rate.reason


def _summary(
    runs: Mapping[str, RunFacts], items: Mapping[str, pd.DataFrame], metrics: Sequence[MetricInfo]
) -> pd.DataFrame:
    rows = []
    for name, facts in runs.items():
        frame, cost = items[name], facts.cost
        codes = pd.factorize(frame["prompt_id"])[0]
        for metric in metrics:
            values = frame[f"value:{metric.name}"].where(frame["failed"].isna()).to_numpy()
            held = ~pd.isna(values)
            score = statistics.mean(values[held], codes[held])
            rows.append(
                {
                    "run": name,
                    "run_id": facts.run_id,
                    "metric": metric.name,
                    "direction": metric.direction,
                    "mean": score.value,
                    "low": score.low,
                    "high": score.high,
                    "images": int(held.sum()),
                    "prompts": score.prompts,
                    "failed": sum(facts.failed.values()),
                    "reason": score.reason,
                    "nfe": cost.nfe,
                    "nfe_images": cost.nfe_images,
                    "nfe_by_branch": json.dumps(cost.nfe_by_branch),
                    "seconds": cost.seconds,
                    "timed_images": cost.timed_images,
                    "device": cost.device,
                }
            )
    return tables.typed(rows, tables.SUMMARY)


def _set_scores(runs: Mapping[str, RunFacts], scores: Sequence[SetScore]) -> pd.DataFrame:
    """Set scores as a table, with a warning where they cannot be set beside the candidate's."""
    own = {score.metric.name: score for score in scores if score.run == CANDIDATE}
    failed = {name: sum(run.failed.values()) for name, run in runs.items()}
    rows = []
    for score in scores:
        ours = own.get(score.metric.name)
        warning = None
        if ours is not None and ours.n != score.n:
            warning = f"over {score.n} images, the candidate's over {ours.n}: not comparable"
        elif failed[score.run] != failed[CANDIDATE]:
            warning = (
                f"{failed[score.run]} images failed, {failed[CANDIDATE]} of the candidate's: "
                "the sets differ"
            )
        rows.append(
            {
                "run": score.run,
                "run_id": runs[score.run].run_id,
                "metric": score.metric.name,
                "title": score.metric.title,
                "about": score.metric.about,
                "direction": score.metric.direction,
                "value": score.value,
                "low": score.low,
                "high": score.high,
                "images": score.n,
                "failed": failed[score.run],
                "reason": score.reason,
                "warning": warning,
            }
        )
    return tables.typed(rows, tables.SET_SCORES)
