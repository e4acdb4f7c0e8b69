"""Sentences beside the verdicts: on failed, unpaired and left-out images, and what was declared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.reporting.words import (
    also,
    declared,
    evaluations,
    paired,
    place,
    plural,
    run_names,
    setting,
    why_unpaired,
)
from harness.store.comparison_tables import ComparisonTables
from harness.store.run import AS_SAMPLED


def _reasons(counts: Mapping[str, int], most: int = 3) -> str:
    """The most frequent reasons, with their numbers where there are several."""
    if len(counts) == 1:
        return next(iter(counts))
    ranked = sorted(counts, key=lambda reason: (-counts[reason], reason))
    listed = [f"{counts[reason]:,}: {reason}" for reason in ranked[:most]]
    rest = sum(counts[reason] for reason in ranked[most:])
    return "; ".join([*listed, f"{rest:,}: other reasons"] if rest else listed)


def remarks(comparison: ComparisonTables) -> list[str]:
    """Sentences on failed, unpaired and left-out images, and on the primary result."""
    lines, names = failures(comparison), run_names(comparison)
    lines += [
        f"{names[role]} was evaluated {evaluations(run.cost)} times an image, and "
        f"{run.cost.rehearsed:,} times in its dry run: costs are those recorded."
        for role, run in comparison.runs.items()
        if run.cost.differs
    ]
    lines += [
        f"At {also(comparison, role)} the two made the very same pictures, all "
        f"{comparison.runs[role].images:,}: they are one sampler here."
        for role in comparison.equal
    ]
    lines += [
        f"{names[role]}: {remark}."
        for role, run in comparison.runs.items()
        if (remark := run.environment.get(AS_SAMPLED))
    ]
    for role in comparison.baselines:
        lines += [f"At {setting(role)}, {remark}." for remark in _left_out(comparison, role)]
    lines += [f"Not compared {place(n)}: {why}." for n, why in comparison.absent.items()]
    if comparison.same:
        alike = [f"{setting(other)} = {setting(name)}" for name, other in comparison.same.items()]
        lines.append(f"Equal already, so that the baseline is one run: {'; '.join(alike)}.")
    return [*lines, declared(comparison)]


def failures(comparison: ComparisonTables) -> list[str]:
    """A sentence on failed images; none without any."""
    names = run_names(comparison)
    failed = [
        f"{sum(run.failed.values()):,} of {plural(run.images, 'image')} of {names[role]} "
        f"({_reasons(run.failed)})"
        for role, run in comparison.runs.items()
        if run.failed
    ]
    return [f"Failed: {', '.join(failed)}. A failed image loses its pair."] if failed else []


def _left_out(comparison: ComparisonTables, role: str) -> Iterator[str]:
    """Remarks on one comparison's pairs: noise, unpaired and left-out images."""
    row = comparison.decided(role)
    if not paired(comparison, role):
        yield (
            f"{why_unpaired(comparison, role)}: each is compared with every image of its prompt on "
            "the other side. Their noise differs, so it takes more prompts to be as sure as with "
            "pairs of one noise"
        )
    if row.warning:
        yield row.warning
    if row.a_unpaired or row.b_unpaired:
        yield (
            f"{plural(row.a_unpaired, 'image')} of the candidate and {row.b_unpaired:,} of the "
            "baseline have no partner on the other side and are not compared"
        )
    counts = {m.label: comparison.rate(role, m.name).left_out for m in comparison.metrics}
    if left := [f"{n:,} on {label}" for label, n in counts.items() if n]:
        yield (
            "pairs with a picture on both sides and a score missing are left out: "
            f"{', '.join(left)}"
        )
