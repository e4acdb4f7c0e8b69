"""The comparisons of a candidate on the first metric, a row each: a forest plot's rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.reporting import words
from harness.reporting.board import SIGNS
from harness.reporting.curve import weight
from harness.reporting.interval_bar import reach
from harness.reporting.page import RowGroup, Table
from harness.store.comparison_tables import BEST_OF, CANDIDATE, ComparisonTables
from harness.store.curve_rule import GUIDANCE_CURVE, CurveRule
from harness.store.results import Result
from harness.store.run_facts import RunFacts

FAIR = ("own", "matched cost", "matched guidance", "matched cost and guidance")
_REACHES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4)


@dataclass(frozen=True)
class ForestRow:
    """A comparison: its `names` (several where one baseline stands for several settings), `about`
    its baseline, its result, and the evaluations of an image on either side."""

    names: list[str]
    about: str
    result: Result
    nfe: tuple[float | None, float | None]

    @property
    def evaluations(self) -> str:
        own, other = map(words.count, self.nfe)
        return f"{own} : {other}"

    @property
    def mark(self) -> str:
        return SIGNS.get(self.result.verdict, words.NONE)


@dataclass(frozen=True)
class Forest:
    """The rows, and `reach`: how far from one half the axis goes, either way."""

    title: str
    rows: list[ForestRow]
    note: str

    @property
    def reach(self) -> float:
        most = reach([row.result.winning_rate for row in self.rows])
        return next((one for one in _REACHES if most <= one), 0.5)

    def place(self, rate: float) -> float:
        """Where a rate is on the axis, in percent of its length."""
        return min(max(50 + 50 * (rate - 0.5) / self.reach, 0.0), 100.0)

    @property
    def table(self) -> Table:
        """The same as a table of text."""
        rows = [
            [
                " = ".join(row.names) + (" (declared)" if row.result.primary else ""),
                row.about,
                words.rate(row.result.winning_rate),
                words.percent(row.result.decided_share),
                row.evaluations,
                row.result.verdict,
            ]
            for row in self.rows
        ]
        columns = ["compared at", "baseline", "winning rate", "decided", "NFE", "verdict"]
        prose = frozenset({"baseline", "verdict"})
        return Table(self.title, columns, [RowGroup("", rows)], self.note, prose)


def forest(comparison: ComparisonTables, along: ComparisonTables | None = None) -> Forest:
    """All comparisons on the first metric, with that of the guidance curve, if there is one."""
    rows = [*forest_rows(comparison, along)]
    names, metric = words.run_names(comparison), comparison.metrics[0]
    declared = any(row.result.primary for row in rows)
    note = (
        f"Winning rate on {words.label(metric)} ({metric.direction} is better), {words.TIES}, with "
        f"its 95{words.SPACE}% interval over {comparison.population}; 50{words.SPACE}%: neither is "
        "better. Decided: pairs that do not tie. Evaluations: of the network, an image of either "
        f"side, {names[CANDIDATE]} first. "
    )
    note += "What is not declared" if declared else "Nothing is declared: all"
    note += " is exploratory."
    return Forest(f"How often the picture of {names[CANDIDATE]} is the better one", rows, note)


def forest_rows(
    comparison: ComparisonTables, along: ComparisonTables | None = None
) -> Iterator[ForestRow]:
    """The comparisons in their usual order: as fair as can be, then curve, then best of N."""
    for role in comparison.baselines:
        if role != BEST_OF:
            yield _row(comparison, role)
    if along is not None and (rule := along.curve_rule(along.metrics[0].name)):
        yield _curve_row(along, rule)
    if BEST_OF in comparison.baselines:
        yield _row(comparison, BEST_OF)


def _row(comparison: ComparisonTables, role: str) -> ForestRow:
    facts = comparison.runs[role]
    nfe = comparison.candidate.cost.nfe, facts.cost.nfe
    return ForestRow(
        _names(comparison, role), _about(comparison, role), comparison.decided(role), nfe
    )


def _names(comparison: ComparisonTables, role: str) -> list[str]:
    """How a comparison is called: by its settings, else by the baseline's name."""
    if choice := comparison.runs[role].choice:
        return [f"best of {choice.n} pictures"]
    return words.settings(comparison, role) if role in FAIR else [title(comparison, role)]


def title(comparison: ComparisonTables, role: str) -> str:
    """The name of one comparison: never that of a folder."""
    known = role in (*FAIR, BEST_OF, GUIDANCE_CURVE)
    return words.setting(role) if known else words.run_names(comparison)[role]


def _about(comparison: ComparisonTables, role: str) -> str:
    facts = comparison.runs[role]
    if facts.choice is None:
        named = role in FAIR
        return ", ".join([facts.sampler.name] * named + _settings(facts, named))
    verifier = facts.choice.verifier
    by = next((m.label for m in comparison.metrics if m.name == verifier), verifier)
    steps = facts.sampler.params.get("steps")
    each = f"{facts.choice.n} x {words.plural(steps, 'step')}, " if isinstance(steps, int) else ""
    return f"{facts.sampler.name}, {each}kept by {by}"


def _settings(facts: RunFacts, with_steps: bool = True) -> list[str]:
    steps, scale = facts.sampler.params.get("steps"), facts.guidance.value
    parts = [words.plural(steps, "step")] if with_steps and isinstance(steps, int) else []
    return [*parts, f"guidance {words.scale(scale)}"] if scale is not None else parts


def _curve_row(along: ComparisonTables, rule: CurveRule) -> ForestRow:
    over = list(dict.fromkeys(rule.against)) or [*along.baselines]
    facts = [along.runs[role] for role in over]
    scales = words.joined([words.scale(weight(along, role)) for role in over])
    which = "best" if rule.crossed else "hardest"
    steps = dict.fromkeys(part for run in facts for part in _settings(run)[:1])
    picked = f"guidance {scales} ({which} of {rule.weights})"
    about = ", ".join([facts[0].sampler.name, *steps, picked])
    costs = [run.cost.nfe for run in facts if run.cost.nfe is not None]
    nfe = along.candidate.cost.nfe, max(costs, default=None)
    return ForestRow([words.BEST_GUIDANCE], about, along.decided(GUIDANCE_CURVE), nfe)
