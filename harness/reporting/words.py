"""Numbers, intervals and names of runs formatted as text for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, log10
from typing import Any

import pandas as pd

from harness.core.call import Call
from harness.store.comparison_tables import BEST_OF, CANDIDATE, ComparisonTables, MetricInfo
from harness.store.curve_rule import GUIDANCE_CURVE
from harness.store.results import Estimate, Result
from harness.store.run_facts import Cost, RunFacts

TIES = "ties one half"
TIES_COUNT = "Ties count half"
TIES_COUNTED = "ties counted half"
"""The rule of `core.outcome` in a list, as a sentence and in passing."""

BEST_GUIDANCE = "best guidance at equal cost"

NONE = "–"  # noqa: RUF001
SPACE = "\N{NO-BREAK SPACE}"


def setting(comparison: str) -> str:
    """The name of a comparison in running text."""
    return {"own": "own settings", GUIDANCE_CURVE: BEST_GUIDANCE}.get(comparison, comparison)


def place(comparison: str) -> str:
    """Where, or against what, a comparison was made."""
    if comparison == GUIDANCE_CURVE:
        return "against the best guidance of the baseline at equal cost"
    return f"{'against the' if comparison == BEST_OF else 'at'} {setting(comparison)}"


def settings(comparison: ComparisonTables, role: str) -> list[str]:
    """A comparison's setting, then those whose baseline is the same run."""
    others = [name for name, other in comparison.same.items() if other == role]
    return [setting(name) for name in [role, *others]]


def also(comparison: ComparisonTables, role: str) -> str:
    """`settings` as text: a comparison, and the others whose baseline is the same run."""
    first, *others = settings(comparison, role)
    return f"{first}, also {joined(others)}" if others else first


def label(metric: MetricInfo) -> str:
    """A metric's title with the direction in which it is better."""
    return f"{metric.label}{SPACE}{metric.arrow}"


def missing(value: Any) -> bool:
    return value is None or bool(pd.isna(value))


def number(value: float | None, signed: bool = False) -> str:
    """A score: three decimals below 10, four digits above, a true minus sign."""
    if value is None or pd.isna(value):
        return NONE
    size = abs(value)
    if size and size < 0.001:
        text = f"{value:+.1e}" if signed else f"{value:.1e}"
    else:
        digits = 3 if size < 10 else 2 if size < 100 else 1
        text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def count(value: float | None) -> str:
    """A mean count: without decimals where it is whole."""
    if value is None or pd.isna(value):
        return NONE
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def paired(comparison: ComparisonTables, role: str) -> bool:
    """Whether candidate and baseline start from the same noise, image by image."""
    return comparison.candidate.paired and comparison.runs[role].paired


def why_unpaired(comparison: ComparisonTables, role: str) -> str:
    """Why the images of a comparison are no pairs."""
    sides = (comparison.candidate, comparison.runs[role])
    if any(run.size is None and not run.paired for run in sides):
        return "images were imported as unpaired"
    return "images begin with noise of their own"


def size(run: RunFacts) -> str:
    """HxW of a run's images; imported ones may be of any size."""
    return "any" if run.size is None else f"{run.size[0]}x{run.size[1]}"


def plural(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def percent(value: float | None) -> str:
    return NONE if value is None or pd.isna(value) else f"{100 * value:.1f}{SPACE}%"


def seconds(value: float | None) -> str:
    return NONE if value is None or pd.isna(value) else f"{value:.3g}"


def evaluations(cost: Cost) -> str:
    """The mean NFE of an image, the least and the most where they differ, and of how many."""
    span = ""
    if cost.nfe_least != cost.nfe_most:
        span = f"{cost.nfe_least:,} to {cost.nfe_most:,}, "
    return f"{count(cost.nfe)} ({span}n {cost.nfe_images:,})"


def timed(cost: Cost) -> str:
    """Mean seconds of an image, with the quartiles over batches where there are several."""
    if cost.seconds_quartiles is None or cost.timed_batches < 2:
        return seconds(cost.seconds)
    low, _, high = cost.seconds_quartiles
    return f"{seconds(cost.seconds)} [{seconds(low)}, {seconds(high)}]"


def macs(value: float | None) -> str:
    """Multiply-accumulates, in millions, milliards or billions (SI: M, G, T)."""
    if value is None or pd.isna(value) or not value:  # 0: a network that nobody can count
        return NONE
    for size, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G")):
        if value >= size:
            return f"{value / size:.3g}{SPACE}{unit}"
    return f"{value / 1e6:.3g}{SPACE}M"


def ratio(a: float | None, b: float | None) -> str:
    """a / b as text."""
    return NONE if not a or not b else f"{a / b:.2f}"


def guidance(run: RunFacts) -> str:
    """The nominal guidance scale with SD and number of images; without one, the reason."""
    scale = run.guidance
    if scale.value is None:
        return f"{NONE} ({scale.reason})"
    spread = f"SD {scale.sd:.2g}, " if scale.sd else ""
    return f"{scale.value:.4g} ({spread}n {scale.n:,})"


def scale(value: float | None) -> str:
    """A guidance scale."""
    return NONE if value is None else f"{value:.3g}"


def p_value(value: float | None) -> str:
    if value is None or pd.isna(value):
        return NONE
    return "< 0.0001" if value < 0.0001 else f"{value:.{4 if value < 0.01 else 3}f}"


def rate(estimated: Estimate) -> str:
    """A winning rate with its interval, in percent; where it is undefined, the reason."""
    if estimated.value is None:
        return str(estimated.reason)
    return f"{percent(estimated.value)} {bounds(estimated) or f'({estimated.reason})'}"


def plain_rate(estimated: Estimate) -> str:
    """A winning rate with its interval, if there is one, in percent, without a reason."""
    return f"{percent(estimated.value)} {bounds(estimated)}".strip(" ")


def bounds(estimated: Estimate) -> str:
    """The ends of a rate's interval, in percent; empty without one."""
    return f"[{end(estimated.ends[0])}, {end(estimated.ends[1])}]" if estimated.ends else ""


def end(bound: float) -> str:
    """An end of a rate's interval, in percent: never 50.0 where it leaves out one half."""
    shown, away = f"{100 * bound:.1f}", abs(100 * bound - 50)
    return f"{100 * bound:.{-floor(log10(away))}f}" if shown == "50.0" and away > 1e-9 else shown


def mcnemar(row: Result) -> str:
    """Of a binary metric: pairs in which one side alone scores 1, and McNemar's p."""
    if not row.binary:
        return NONE
    return f"{row.only_a:,} / {row.only_b:,}, p{SPACE}{equals(row.mcnemar_p)}"


def equivalence(comparison: ComparisonTables) -> str:
    """The definition of `equivalent`; empty without a margin."""
    if comparison.margin is None:
        return ""
    low, high = (percent(0.5 + sign * comparison.margin) for sign in (-1, 1))
    return f" Equivalent: the whole interval lies between {low} and {high}, the stated margin."


def declared(comparison: ComparisonTables) -> str:
    """A sentence on the primary result, or that none is declared."""
    primary = comparison.primary
    if primary is None:
        return (
            "No primary result is declared for these metrics: every verdict is exploratory, and "
            "one in twenty intervals misses by chance."
        )
    metric = next(m for m in comparison.metrics if m.name == primary.metric)
    return (
        f"Declared as primary: {label(metric)} {place(primary.comparison)}. Everything else "
        "is exploratory: one in twenty intervals misses by chance."
    )


def estimate(estimated: Estimate | None, signed: bool = False) -> str:
    """A number with its interval; without one, the reason."""
    if estimated is None or estimated.value is None:
        return NONE if estimated is None or estimated.reason is None else estimated.reason
    if estimated.ends is None:
        return f"{number(estimated.value, signed)} ({estimated.reason or 'no interval'})"
    low, high = (number(end, signed) for end in estimated.ends)
    return f"{number(estimated.value, signed)} [{low}, {high}]"


def without_interval(estimated: Estimate) -> str:
    """A signed number alone; without one, the reason."""
    if estimated.value is None:
        return estimated.reason or NONE
    return number(estimated.value, signed=True)


def outcomes(row: Result) -> str:
    return f"{row.wins:,} / {row.ties:,} / {row.losses:,}"


def pairs(row: Result) -> str:
    """How many pairs of how many prompts."""
    return f"{row.pairs:,} ({row.winning_rate.n:,})"


def run_names(comparison: ComparisonTables) -> dict[str, str]:
    """A short name for each run: sampler and steps; where that is not enough, all that differs."""
    runs = comparison.runs
    short = {role: _chosen(run) + _with_steps(run.sampler) for role, run in runs.items()}
    alike = {name: [r for r in runs if short[r] == name] for name in short.values()}
    return {
        role: name
        if len({runs[other].run_id for other in alike[name]}) == 1
        else _distinct(runs, role, alike[name])
        for role, name in short.items()
    }


def _chosen(run: RunFacts) -> str:
    """What is before the name of a run of which several pictures compete."""
    return f"best of {run.choice.n} of " if run.choice else ""


def _with_steps(call: Call) -> str:
    steps = call.params.get("steps")
    return call.name if steps is None else f"{call.name} ({steps} step{'s' * (steps != 1)})"


def _distinct(runs: dict[str, RunFacts], role: str, alike: Sequence[str]) -> str:
    """The sampler with the parameters in which runs of the same short name differ."""
    call = runs[role].sampler
    others = [runs[other].sampler.params for other in alike]
    differing = {
        key: value
        for key, value in call.params.items()
        if key == "steps" or any(other.get(key) != value for other in others)
    }
    if set(differing) <= {"steps"}:
        same = {runs[o].run_id for o in alike if runs[o].sampler.params == call.params}
        if len(same) == 1:  # the others have parameters that it has not
            return _with_steps(call)
        return f"{_with_steps(call)}, {runs[role].model}, {runs[role].run_id}"
    return str(Call(call.name, differing))


def primary_first(comparison: ComparisonTables) -> list[str]:
    """The comparisons, with that of the primary result on the first metric in front."""
    return sorted(comparison.baselines, key=lambda role: not comparison.decided(role).primary)


def joined(parts: Sequence[str]) -> str:
    """a; a and b; a, b, and c."""
    if len(parts) < 3:
        return " and ".join(parts)
    return f"{', '.join(parts[:-1])}, and {parts[-1]}"


def verdict_line(comparison: ComparisonTables, role: str) -> str:
    """A sentence on one comparison on the first metric: winning rate, interval, p, costs."""
    names, metric = run_names(comparison), comparison.metrics[0]
    row = comparison.decided(role)
    won = row.winning_rate
    if won.value is None:
        return f"{names[CANDIDATE]} and {names[role]} cannot be compared: {won.reason}."
    sure = won.reason
    if won.ends:
        sure = f"95{SPACE}% interval {end(won.ends[0])} to {end(won.ends[1])}{SPACE}%"
    return (
        f"{names[CANDIDATE]} scores better than {names[role]} in {percent(won.value)} of "
        f"pairs on {label(metric)}, {TIES_COUNTED} ({sure}; "
        f"{plural(row.pairs, 'pair')} of {plural(won.n, 'prompt')}, "
        f"p{SPACE}{equals(row.p_value)}).{_could(row)} {_costs(comparison, role)}"
    )


def _could(row: Result) -> str:
    """Of an undecided comparison: the smallest winning rate that it would have detected."""
    if row.verdict != "undecided" or row.detectable is None:
        return ""
    return (
        f" As many pairs would show a winning rate of {percent(row.detectable)} in 80{SPACE}% "
        "of cases."
    )


def equals(value: float | None) -> str:
    """A p-value after the letter p."""
    text = p_value(value)
    return text if text.startswith("<") else f"= {text}"


def _costs(comparison: ComparisonTables, role: str) -> str:
    a, b = comparison.candidate.cost, comparison.runs[role].cost
    if a.nfe is None or b.nfe is None:
        return "Network evaluations were not counted."
    more = f", {ratio(a.macs, b.macs)} times the arithmetic" if a.macs and b.macs else ""
    return f"Network evaluations an image: {count(a.nfe)} against {count(b.nfe)}{more}."


def other_metrics(comparison: ComparisonTables, role: str) -> str:
    """The verdicts on the other metrics, in a sentence; empty if there are none."""
    labels: dict[str, list[str]] = {}
    for metric in comparison.metrics[1:]:
        verdict = comparison.rate(role, metric.name).verdict
        labels.setdefault(verdict, []).append(label(metric))
    order = ("wins", "loses", "equivalent", "undecided", "undefined")
    parts = [f"{verdict} on {', '.join(labels[verdict])}" for verdict in order if verdict in labels]
    return f"Other metrics: {'; '.join(parts)}." if parts else ""


_NAMED = 3  # the most samplers that are named under another verdict than those asked for


def by_verdict(verdicts: Mapping[str, Sequence[str]], named: Sequence[str]) -> str:
    """Labels by verdict as text, those of `named` verdicts first; many others by their number."""
    others, parts = "all" if len(verdicts) == 1 else "the other", []
    for verdict in sorted(verdicts, key=lambda one: one not in named):
        labels = verdicts[verdict]
        few = verdict in named or len(labels) <= _NAMED
        listed = ", ".join(f'"{one}"' if "," in one else one for one in labels)
        parts.append(f"{verdict}: {listed if few else f'{others} {len(labels)}'}")
    return "; ".join(parts)
