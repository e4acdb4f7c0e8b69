"""A report's title: the verdicts on the first metric in one sentence, the primary one first."""

from __future__ import annotations

from collections.abc import Sequence

from harness.reporting.look_words import in_title
from harness.reporting.words import (
    joined,
    plural,
    primary_first,
    rate,
    run_names,
    settings,
)
from harness.store.comparison_tables import BEST_OF, CANDIDATE, ComparisonTables
from harness.store.curve_rule import GUIDANCE_CURVE
from harness.store.results import Result

_FAIR = {"own", "matched cost", "matched guidance", "matched cost and guidance"}
_FIRST = {
    "wins": "{a} beats {b} on {metric}{at}",
    "loses": "{a} loses to {b} on {metric}{at}",
    "equivalent": "{a} is equivalent to {b} on {metric}{at}",
    "undecided": "{a} against {b} on {metric}: undecided{at}",
    "undefined": "{a} cannot be compared with {b} on {metric}{at}",
}
_FURTHER = {
    "wins": "it wins{against}{at}",
    "loses": "it loses{against}{at}",
    "equivalent": "equivalent{against}{at}",
    "undecided": "undecided{against}{at}",
    "undefined": "not comparable{against}{at}",
}


_CURVE = {
    "wins": "it beats the best guidance of the baseline at equal cost",
    "loses": "it loses to the best guidance of the baseline at equal cost",
    "equivalent": "equivalent to the best guidance of the baseline at equal cost",
    "undecided": "undecided against the best guidance of the baseline at equal cost",
}


def headline(comparison: ComparisonTables, along: ComparisonTables | None = None) -> str:
    """The title; with `along`, the verdict against the best guidance of the baseline, too.

    The declared comparison comes first; what the look at the sample is, last.
    """
    look = which_look(comparison, along)
    return "; ".join(clauses(comparison, along)) + (f" ({look})" if look else "")


def clauses(comparison: ComparisonTables, along: ComparisonTables | None = None) -> list[str]:
    """The title's parts: the declared comparison, or all of one verdict, first."""
    plain = comparison.without(BEST_OF)
    best = along.decided(GUIDANCE_CURVE) if along and along.curve else None
    further = [_CURVE[best.verdict]] if best and best.verdict in _CURVE else []
    if best is not None and best.primary:
        found = _points(plain, _lead(comparison, best))
    else:
        found = [*_points(plain), *further]
    return [*found, several] if (several := _several(comparison)) else found


def which_look(comparison: ComparisonTables, along: ComparisonTables | None = None) -> str:
    """A few words on which look at the sample the declared comparison is, if it is not the only."""
    declared = along is not None and along.curve and along.decided(GUIDANCE_CURVE).primary
    return in_title(along if declared and along else comparison)


def _several(comparison: ComparisonTables) -> str | None:
    """The verdict against the best of N pictures of the baseline, if that was compared."""
    if BEST_OF not in comparison.runs:
        return None
    verdict = comparison.decided(BEST_OF).verdict
    clause = _CURVE.get(verdict)
    best = f"the {run_names(comparison)[BEST_OF]}"
    return clause and clause.replace("the best guidance of the baseline at equal cost", best)


def _lead(comparison: ComparisonTables, best: Result) -> str:
    """The declared comparison with the best guidance of the baseline, with its winning rate."""
    names = _names(comparison)
    clause = _FIRST[best.verdict].format(
        a=names[CANDIDATE],
        b=f"the best guidance of {names[next(iter(comparison.baselines))]} at equal cost",
        metric=comparison.metrics[0].label,
        at="",
    )
    return clause + _won(best)


def _points(comparison: ComparisonTables, lead_clause: str | None = None) -> list[str]:
    """The declared comparison, or the only one, with its winning rate; then the others by verdict.

    Without a declared one all are grouped by verdict, in order. `lead_clause` is that of a declared
    comparison which is none of these.
    """
    roles = primary_first(comparison)
    verdicts = {role: comparison.decided(role).verdict for role in roles}
    names = _names(comparison)
    first = len(roles) == 1 or comparison.decided(roles[0]).primary
    lead = [roles[0]] if first and lead_clause is None else []
    rest = [role for role in roles if role not in lead]
    alike = rest and len(set(verdicts.values())) == len({names[role] for role in roles}) == 1
    groups: dict[str, list[str]] = {}
    for role in rest:
        groups.setdefault(verdicts[role], []).append(role)
    found = [] if lead_clause is None else [lead_clause]
    for role in lead:
        clause = _first(comparison, verdicts[role], [role], names)
        found.append(clause + _won(comparison.decided(role)))
    if alike and lead:
        more = sum(len(settings(comparison, role)) for role in rest)
        others = plural(more, "comparison") if more > 1 else "one"
        return [f"{found[0]}, as in the other {others}"]
    for verdict, group in groups.items():
        words_of = _further if found else _first
        found.append(words_of(comparison, verdict, group, names))
    return found


def _won(row: Result) -> str:
    won = row.winning_rate
    return f" ({won.reason})" if won.value is None else f" (winning rate {rate(won)})"


def _names(comparison: ComparisonTables) -> dict[str, str]:
    """Samplers' names by role; with the parameters that differ where names are the same."""
    names = {role: run.sampler.name for role, run in comparison.runs.items()}
    if names[CANDIDATE] not in {names[role] for role in comparison.baselines}:
        return names
    names = run_names(comparison)
    if "own" in names and set(comparison.baselines) <= _FAIR:  # the others are of the same sampler
        names |= dict.fromkeys(comparison.baselines, names["own"])
    return names


def _first(
    comparison: ComparisonTables, verdict: str, roles: Sequence[str], names: dict[str, str]
) -> str:
    return _FIRST[verdict].format(
        a=names[CANDIDATE],
        b=joined(list(dict.fromkeys(names[role] for role in roles))),
        metric=comparison.metrics[0].label,
        at=_at(comparison, roles, names),
    )


def _further(
    comparison: ComparisonTables, verdict: str, roles: Sequence[str], names: dict[str, str]
) -> str:
    baselines = {names[role] for role in comparison.baselines}
    others = joined(list(dict.fromkeys(names[role] for role in roles)))
    return _FURTHER[verdict].format(
        against=f" against {others}" if len(baselines) > 1 else "",
        at=_at(comparison, roles, names),
    )


def _at(comparison: ComparisonTables, roles: Sequence[str], names: dict[str, str]) -> str:
    """The settings of the comparisons; empty where the baselines' names suffice."""
    every = [names[role] for role in comparison.baselines]
    if not set(comparison.baselines) <= _FAIR and len(set(every)) == len(every):
        return ""
    if len(roles) == len(every) > 2:
        count = sum(len(settings(comparison, role)) for role in roles)
        return f" in all {plural(count, 'comparison')}"
    places = [place for role in roles for place in settings(comparison, role)]
    return f" at {joined(places)}"
