"""A report's title: the verdicts on the first metric in one sentence, the primary one first."""

from __future__ import annotations

from collections.abc import Sequence

from harness.reporting.words import (
    joined,
    plural,
    primary_first,
    rate,
    run_names,
    settings,
)
from harness.store.comparison_tables import BEST_OF, CANDIDATE, ComparisonTables

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
    "wins": "it beats the best of the baseline's guidance curve",
    "loses": "it loses to the best of the baseline's guidance curve",
    "equivalent": "equivalent to the best of the baseline's guidance curve",
    "undecided": "undecided against the best of the baseline's guidance curve",
}


def headline(comparison: ComparisonTables, against_best: str | None = None) -> str:
    """The title; with `against_best`, the verdict against the best of the guidance curve, too."""
    curve = _CURVE.get(against_best or "")
    clauses = [_points(comparison.without(BEST_OF)), curve, _several(comparison)]
    return "; ".join(clause for clause in clauses if clause)


def _several(comparison: ComparisonTables) -> str | None:
    """The verdict against the best of N pictures of the baseline, if that was compared."""
    if BEST_OF not in comparison.runs:
        return None
    verdict = comparison.decided(BEST_OF).verdict
    clause = _CURVE.get(verdict)
    best = f"the {run_names(comparison)[BEST_OF]}"
    return clause and clause.replace("the best of the baseline's guidance curve", best)


def _points(comparison: ComparisonTables) -> str:
    """The declared comparison, or the only one, with its winning rate; then the others by verdict.

    Without a declared one all are grouped by verdict, in order.
    """
    roles = primary_first(comparison)
    verdicts = {role: comparison.decided(role).verdict for role in roles}
    names = _names(comparison)
    lead = [roles[0]] if len(roles) == 1 or comparison.decided(roles[0]).primary else []
    rest = [role for role in roles if role not in lead]
    alike = rest and len(set(verdicts.values())) == len({names[role] for role in roles}) == 1
    groups: dict[str, list[str]] = {}
    for role in rest:
        groups.setdefault(verdicts[role], []).append(role)
    clauses = [_first(comparison, verdicts[role], [role], names) for role in lead]
    if clauses:
        clauses[0] += _winning_rate(comparison, lead[0])
    if alike and lead:
        more = sum(len(settings(comparison, role)) for role in rest)
        return f"{clauses[0]}, as in the other {plural(more, 'comparison') if more > 1 else 'one'}"
    for verdict, group in groups.items():
        clause = _further if clauses else _first
        clauses.append(clause(comparison, verdict, group, names))
    return "; ".join(clauses)


def _winning_rate(comparison: ComparisonTables, role: str) -> str:
    won = comparison.decided(role).winning_rate
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
