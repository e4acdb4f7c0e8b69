"""Tables of a comparison's runs: parameters, costs, guidance scales."""

from __future__ import annotations

import json

from harness.reporting import words
from harness.reporting.official import NOTE, official_count
from harness.reporting.page import RowGroup, Table
from harness.reporting.tables import role_name
from harness.store.comparison_tables import ComparisonTables
from harness.store.run_facts import Cost, RunFacts


def costs(comparison: ComparisonTables) -> Table:
    """A row a run: cost of an image, ratio of the candidate's to it, and guidance scale."""
    names, a = words.run_names(comparison), comparison.candidate.cost
    rows = [
        [
            role_name(role),
            names[role],
            words.evaluations(run.cost),
            _pair_count(run.cost),
            words.count(official_count(run.sampler, run.cost.calls)),
            words.macs(run.cost.macs),
            words.ratio(a.macs, run.cost.macs),
            words.timed(run.cost),
            _levels(run.cost),
            words.guidance(run),
        ]
        for role, run in comparison.runs.items()
    ]
    return Table(
        "What an image costs, and how strongly it is guided",
        [
            "run",
            "sampler",
            "NFE",
            "as pairs",
            "official count",
            "MACs",
            "ratio",
            "seconds",
            "sigma",
            "guidance scale",
        ],
        [RowGroup("", rows)],
        "NFE: evaluations that were run, all networks and branches, the mean over n images, with "
        "the least and the most where they differ. As pairs: two for each call of "
        "the denoiser, as codes count that always run both branches. MACs: multiply-accumulates, "
        "without text encoder and decoder, for what was evaluated. Ratio: the candidate's MACs "
        "over this run's. Sigma: the "
        "first and last level. Guidance scale: nominal, what the steps amount to, the mean over n "
        "images, with their standard deviation where they differ. Seconds: sampling and decoding "
        f"in batches, as measured: the mean, and the quartiles over batches. {NOTE}",
        frozenset({"sampler", "guidance scale"}),
        frozenset({"sampler", "as pairs", "official count", "sigma"}),
    )


def _pair_count(cost: Cost) -> str:
    """Two evaluations for every call of the denoiser, where a second branch was ever asked for."""
    single = set(cost.nfe_by_branch) <= {"main/cond"}
    return words.NONE if cost.calls is None or single else f"{2 * cost.calls:,}"


def _levels(cost: Cost) -> str:
    return words.NONE if cost.sigmas is None else " to ".join(f"{s:.4g}" for s in cost.sigmas)


def runs(comparison: ComparisonTables) -> Table:
    """Parameters of the runs: a row a run, a column a property; common values go in the note."""
    facts = list(comparison.runs.values())
    shown = [
        ["sampler", *(str(run.sampler) for run in facts)],
        ["images", *(f"{run.images:,}" for run in facts)],
        ["failed", *(_failures(run.failed) for run in facts)],
        ["NFE by branch", *(_branches(run.cost.nfe_by_branch) for run in facts)],
        ["folder", *(run.run_id for run in facts)],
    ]
    alike = []
    for name, *values in _settings(facts):
        if len(set(values)) == 1:
            alike.append(f"{name} {values[0]}")
        else:
            shown.append([name, *values])
    columns, *rows = zip(["run", *map(role_name, comparison.runs)], *shown, strict=True)
    note = f"The same for all runs: {'; '.join(alike)}." if alike else ""
    return Table(
        "Samplers with all parameters",
        list(columns),
        [RowGroup("", [list(row) for row in rows])],
        note,
        frozenset(columns) - {"images"},
    )


def _settings(facts: list[RunFacts]) -> list[list[str]]:
    return [
        ["model", *(run.model + (f" @ {run.revision}" if run.revision else "") for run in facts)],
        ["size", *(words.size(run) for run in facts)],
        ["precision", *(run.dtype for run in facts)],
        ["negative prompt", *("none" if r.negative is None else repr(r.negative) for r in facts)],
        ["noise keyed by", *(run.noise_key for run in facts)],
        ["prompts", *(f"{run.prompts:,}" for run in facts)],
        ["seeds", *(span(run.seeds) for run in facts)],
        ["timed on", *(run.cost.device for run in facts)],
        ["run with", *(_pairs({**run.resolved, "revision": None}) for run in facts)],
        ["made with", *(_pairs(run.environment) for run in facts)],
    ]


def span(seeds: list[int]) -> str:
    """Seeds as typed: `0-3, 7`."""
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def _failures(failed: dict[str, int]) -> str:
    return "; ".join(f"{n:,} {reason}" for reason, n in failed.items()) or "0"


def _branches(nfe: dict[str, float]) -> str:
    return ", ".join(f"{name} {words.count(n)}" for name, n in nfe.items()) or words.NONE


def _pairs(values: dict[str, object]) -> str:
    texts = [
        f"{key} {value if isinstance(value, str | int | float) else json.dumps(value)}"
        for key, value in values.items()
        if value is not None
    ]
    return ", ".join(texts) or words.NONE
