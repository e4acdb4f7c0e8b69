"""How many candidates a survey tried: equal pictures count once, and Holm corrects for all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from harness.comparison.decisions import holm
from harness.experiments.experiment import Contest
from harness.experiments.fair_baselines import OWN
from harness.store.curve_rule import GUIDANCE_CURVE
from harness.store.equal_pictures import same_pictures
from harness.store.run import Run
from harness.store.survey_table import Rate, Row


def equal_rows(runs: Sequence[Run], rows: list[Row], items: Collection[str]) -> list[Row]:
    """For each row the first of the very same pictures; read where all scores are equal."""
    firsts: list[Row] = []
    for at, row in enumerate(rows):
        before = (
            k
            for k in range(at)
            if not rows[k].baseline and not row.baseline
            if rows[k].path == row.path
            or (rows[k].scores == row.scores and same_pictures(runs[k], runs[at], items))
        )
        firsts.append(rows[next(before, at)])
    return firsts


def noted(row: Row, first: Row, notes: list[str]) -> Row:
    """A row that says whose pictures it has, with a note; itself where they are its own."""
    if row.path == first.path:
        return row
    notes.append(
        f"{first.label} and {row.label} made the very same pictures, all {row.images:,}: "
        "they are one candidate, and count once among those that were tried."
    )
    return replace(row, same_as=first.label)


def decided_against(contest: Contest | None) -> str | None:
    """The baseline run of the declared comparison; of a guidance curve, the one as it is."""
    compared = contest.comparison if contest else None
    if compared is None or compared.primary is None:
        return None
    role = compared.primary.comparison
    role = OWN if role == GUIDANCE_CURVE else role
    run = compared.runs.get(compared.same.get(role, role))
    return run.path if run else None


def with_holm(rows: list[Row], tried: Sequence[tuple[str, str | None]]) -> list[Row]:
    """Verdicts on declared primary results take account of how many candidates were tried.

    `tried` tells by row what was compared: the same pictures twice are tried once.
    """
    declared = {id(r): at for at, row in enumerate(rows) for r in row.rates if r.role == "primary"}
    known = {id(rate): rate for row in rows for rate in row.rates}
    distinct = {tried[at]: known[rate].p_value for rate, at in declared.items()}
    by_trial = dict(zip(distinct, holm([*distinct.values()]), strict=True))
    adjusted = {rate: by_trial[tried[at]] for rate, at in declared.items()}

    def judged(rate: Rate) -> Rate:
        if (p_value := adjusted.get(id(rate))) is None:
            return rate
        level = 0.05 if rate.look is None or rate.look.level is None else rate.look.level
        lost = rate.verdict in ("wins", "loses") and p_value >= level
        return replace(rate, p_holm=p_value, verdict="undecided" if lost else rate.verdict)

    return [replace(row, rates=[judged(rate) for rate in row.rates]) for row in rows]
