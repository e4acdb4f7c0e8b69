"""The report's tables as text, once for HTML, Markdown and the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from harness.metrics.statistics import BLOCKS
from harness.report import words
from harness.report.official import NOTE, official_count
from harness.store.comparison import CANDIDATE, Comparison, Cost, MetricInfo, RunFacts


@dataclass(frozen=True)
class Group:
    """Rows under a heading of their own; the first cell of a row names it."""

    title: str
    rows: list[list[str]]


@dataclass(frozen=True)
class Table:
    """A table of text. All columns but the first are numbers, unless named in `prose`."""

    caption: str
    columns: list[str]
    groups: list[Group]
    note: str = ""
    prose: frozenset[str] = field(default_factory=frozenset)


def cost_line(comparison: Comparison, role: str) -> str:
    """What an image cost, and the guidance scale, candidate against baseline."""
    one, other = comparison.candidate, comparison.runs[role]
    a, b = one.cost, other.cost
    parts = [f"NFE {words.count(a.nfe)} vs {words.count(b.nfe)}"]
    if a.macs and b.macs:
        ratio = words.ratio(a.macs, b.macs)
        parts.append(f"MACs {words.macs(a.macs)} vs {words.macs(b.macs)} (ratio {ratio})")
    parts.append(f"seconds an image {words.seconds(a.seconds)} vs {words.seconds(b.seconds)}")
    if one.guidance.value is not None and other.guidance.value is not None:
        parts.append(f"guidance {one.guidance.value:.4g} vs {other.guidance.value:.4g}")
    return ", ".join(parts)


def costs(comparison: Comparison) -> Table:
    """A row a run: what an image of it costs, how much more the candidate's, and its guidance."""
    names, a = words.run_names(comparison), comparison.candidate.cost
    rows = []
    for role, run in comparison.runs.items():
        cost = run.cost
        rows.append(
            [
                _role(role),
                names[role],
                f"{words.count(cost.nfe)} (n {cost.nfe_images:,})",
                _pair_count(cost),
                words.count(official_count(run.sampler, cost.calls)),
                words.macs(cost.macs),
                words.ratio(a.macs, cost.macs),
                words.seconds(cost.seconds),
                _levels(cost),
                words.guidance(run),
            ]
        )
    columns = ["run", "sampler", "NFE", "as pairs", "official count", "MACs", "ratio", "seconds"]
    columns += ["sigma", "guidance scale"]
    return Table(
        "What an image costs, and how strongly it is guided",
        columns,
        [Group("", rows)],
        "NFE: evaluations that were run, all networks and branches. As pairs: two for each call of "
        "the denoiser, as codes count that always run both branches. MACs: multiply-accumulates, "
        "without text encoder and decoder. Ratio: the candidate's MACs over this run's. Sigma: the "
        "first and last level. Guidance scale: nominal, what the steps amount to, the mean over n "
        "images, with their standard deviation where they differ. Seconds: sampling and decoding "
        f"in batches, as measured. {NOTE}",
        frozenset({"sampler", "guidance scale"}),
    )


def _pair_count(cost: Cost) -> str:
    """Two evaluations for every call of the denoiser, where a second branch was ever asked for."""
    single = set(cost.nfe_by_branch) <= {"main/cond"}
    return words.NONE if cost.calls is None or single else f"{2 * cost.calls:,}"


def _levels(cost: Cost) -> str:
    return words.NONE if cost.sigmas is None else " to ".join(f"{s:.4g}" for s in cost.sigmas)


_GRID = {
    "own cost": ("own", "matched guidance"),
    "matched cost": ("matched cost", "matched cost and guidance"),
}


def two_by_two(comparison: Comparison) -> Table | None:
    """Winning rates at own and matched cost, by own and matched guidance scale; None where
    guidance was not matched."""
    known = {*comparison.runs, *comparison.absent, *comparison.same}
    if not {"matched guidance", "matched cost and guidance"} & known:
        return None
    groups = []
    for metric in comparison.metrics:
        rows = [
            [cost, *(_answer(comparison, role, metric) for role in roles)]
            for cost, roles in _GRID.items()
        ]
        groups.append(Group(words.label(metric), rows))
    columns = ["baseline at", "own guidance scale", "matched guidance scale"]
    name = comparison.candidate.sampler.name
    return Table(
        f"Does {name} win at the same cost, and at the same guidance?",
        columns,
        groups,
        "Winning rate with 95 % interval over prompts; wins / ties / losses, n: pairs (prompts). "
        "↑ higher is better, ↓ lower is better. At matched cost the baseline has more steps, at "
        f"matched guidance {_matched_guidance(comparison)}.",
        frozenset(columns),
    )


def _matched_guidance(comparison: Comparison) -> str:
    """What matched guidance is equal in."""
    names = ("matched guidance", "matched cost and guidance")
    found = [comparison.runs[n].sampler.params for n in names if n in comparison.runs]
    params = found[0] if found else {}
    if params.get("guidance_estimate") == "ga_eval":
        return "each image the scale that ga_eval gives the candidate's (arXiv:2602.22570)"
    if "guidance_like" in params:
        return "each image the nominal guidance scale of the candidate's"
    course = ", step by step" if "guidance_schedule" in params else ""
    return f"the candidate's nominal guidance scale{course}"


def _answer(comparison: Comparison, role: str, metric: MetricInfo) -> str:
    """One comparison in three lines, and a fourth where another one has the same run."""
    same = comparison.same.get(role)
    if same is None and role not in comparison.baselines:
        return f"not compared: {comparison.absent.get(role, 'no baseline run')}"
    row = comparison.rate(role, metric.name)
    lines = [words.rate(row), f"{words.outcomes(row)}, n {words.pairs(row)}", str(row["verdict"])]
    return "\n".join([*lines, f"the same run as at {words.setting(same)}"] if same else lines)


def winning_rates(comparison: Comparison) -> Table:
    """Per comparison and metric: rate, wins, ties, losses, n, p, mean difference, verdict."""
    names = words.run_names(comparison)
    groups = []
    for role in comparison.baselines:
        rows = []
        for metric in comparison.metrics:
            row = comparison.rate(role, metric.name)
            difference = words.estimate(
                row["difference"],
                row["difference_low"],
                row["difference_high"],
                row["difference_reason"],
                signed=True,
            )
            rows.append(
                [
                    words.label(metric),
                    words.rate(row),
                    words.outcomes(row),
                    words.pairs(row),
                    words.p_value(row["p_value"]),
                    difference,
                    str(row["verdict"]),
                ]
            )
        title = f"{words.setting(role)}: {names[CANDIDATE]} vs {names[role]}"
        groups.append(Group(f"{title}. {cost_line(comparison, role)}", rows))
    return Table(
        f"Winning rate of {comparison.candidate.sampler.name}, with 95 % intervals over prompts",
        [
            "metric",
            "winning rate",
            "wins / ties / losses",
            "pairs (prompts)",
            "p",
            "mean difference",
            "verdict",
        ],
        groups,
        "↑ higher is better, ↓ lower is better. The difference is candidate minus baseline in the "
        "metric's units, over pairs with a score on both sides. A verdict takes an interval "
        "without 50 % and p < 0.05." + words.equivalence(comparison) + _defined(comparison.metrics),
        frozenset({"verdict"}),
    )


def effects(comparison: Comparison) -> Table:
    """Per comparison and metric what a winning rate under common noise does not say."""
    names = words.run_names(comparison)
    groups = []
    for role in comparison.baselines:
        rows = []
        for metric in comparison.metrics:
            row = comparison.rate(role, metric.name)
            crossed = words.rate(row, "crossed")
            if not words.missing(row["crossed"]):
                crossed += f" ({row['crossed_prompts']:,})"
            rows.append(
                [
                    words.label(metric),
                    *(_estimated(row, key) for key in ("effect", "correlation")),
                    crossed,
                    words.mcnemar(row),
                    words.percent(row["detectable"]),
                ]
            )
        groups.append(Group(f"{words.setting(role)}: {names[CANDIDATE]} vs {names[role]}", rows))
    return Table(
        "How large the differences are",
        [
            "metric",
            "difference in seed deviations",
            "correlation of a pair",
            "winning rate, other seed",
            "binary: only A / only B, McNemar p",
            "detectable",
        ],
        groups,
        "With common noise a tiny gain everywhere wins every pair. So: the mean difference in "
        "units of the baseline's deviation over seeds of a prompt; how alike the two scores of a "
        "pair are; the winning rate over all pairs of two different seeds of a prompt, without "
        "common noise (prompts in brackets). Detectable: the smallest winning rate that as many "
        "pairs would show in 80 % of cases. 95 % intervals over prompts.",
    )


def _estimated(row: pd.Series, key: str) -> str:
    value, low, high, reason = (row[key + end] for end in ("", "_low", "_high", "_reason"))
    return words.estimate(value, low, high, reason, signed=True)


def scores(comparison: Comparison) -> Table:
    """Per metric and run: mean score with interval, n, and what an image cost."""
    frame, groups = comparison.summary, []
    for metric in comparison.metrics:
        rows = []
        for _, row in frame[frame["metric"] == metric.name].iterrows():
            role = str(row["run"])
            rows.append(
                [
                    _role(role),
                    words.estimate(row["mean"], row["low"], row["high"], row["reason"]),
                    f"{row['images']:,} ({row['prompts']:,})",
                    f"{row['failed']:,}",
                    words.count(row["nfe"]),
                    words.seconds(row["seconds"]),
                ]
            )
        groups.append(Group(words.label(metric), rows))
    columns = ["run", "mean", "images (prompts)", "failed", "NFE", "seconds an image"]
    return Table(
        "Mean scores of each run's own images, with cost",
        columns,
        groups,
        "Means weigh every prompt the same; 95 % intervals over prompts. NFE: network evaluations "
        "an image, all networks and branches; a guided step is two. Seconds: sampling and decoding "
        "in batches, as measured on the device named with the runs.",
    )


def _role(role: str) -> str:
    return role if role == CANDIDATE else f"baseline, {words.setting(role)}"


def categories(comparison: Comparison, metric: MetricInfo) -> Table | None:
    """Winning rates on one metric by category, a column a comparison; None without categories."""
    rates = comparison.rates
    rows = rates[(rates["metric"] == metric.name) & rates["category"].notna()]
    if rows.empty:
        return None
    cells = {(row["comparison"], row["category"]): row for _, row in rows.iterrows()}
    columns = ["category"]
    for role in comparison.baselines:
        columns += [f"{words.setting(role)}", "wins / ties / losses", "pairs (prompts)"]
    body = []
    for category in sorted(rows["category"].unique()):
        line = [str(category)]
        for role in comparison.baselines:
            cell = cells.get((role, category))
            line += (
                [words.NONE] * 3
                if cell is None
                else [words.rate(cell), words.outcomes(cell), words.pairs(cell)]
            )
        body.append(line)
    return Table(f"Winning rate by category on {words.label(metric)}", columns, [Group("", body)])


def set_scores(comparison: Comparison) -> Table | None:
    """Scores of whole runs, with n and interval; None if there are none."""
    frame = comparison.set_scores
    if frame.empty:
        return None
    names = words.run_names(comparison)
    groups, metrics = [], set_metrics(comparison)
    for name in frame["metric"].unique():
        part = frame[frame["metric"] == name]
        rows = []
        for _, row in part.iterrows():
            role = str(row["run"])
            rows.append(
                [
                    _role(role),
                    words.estimate(row["value"], row["low"], row["high"], row["reason"]),
                    words.estimate(
                        row["difference"],
                        row["difference_low"],
                        row["difference_high"],
                        row["difference_reason"],
                        signed=True,
                    ),
                    f"{row['images']:,}",
                    f"{row['failed']:,}",
                    words.count(comparison.runs[role].cost.nfe),
                    words.seconds(comparison.runs[role].cost.seconds),
                ]
            )
        metric = next(metric for metric in metrics if metric.name == name)
        groups.append(Group(words.label(metric), rows))
    columns = ["run", "value", "A - B", "images", "failed", "NFE", "seconds an image"]
    warned = frame[frame["warning"].notna()]
    notes = [f"{names[row['run']]}: {row['warning']}." for _, row in warned.iterrows()]
    notes.append(
        "A - B: the candidate minus this run, over the same images. 95 % intervals by a jackknife "
        f"over {BLOCKS} blocks of prompts, the same blocks on both sides."
    )
    note = " ".join(notes) + _defined(metrics)
    return Table("Scores of whole sets of images", columns, groups, note.strip())


def set_metrics(comparison: Comparison) -> list[MetricInfo]:
    """The metrics of whole sets of images."""
    rows = comparison.set_scores.drop_duplicates("metric").fillna({"title": "", "about": ""})
    return [
        MetricInfo(row["metric"], row["direction"], row["title"], row["about"])
        for _, row in rows.iterrows()
    ]


def _defined(metrics: Sequence[MetricInfo]) -> str:
    """What the metrics are, in a sentence each."""
    return "".join(f" {metric.label}: {metric.about}." for metric in metrics if metric.about)


def runs(comparison: Comparison) -> Table:
    """What was run: one row a run, one column a property; what is alike in all goes in the note."""
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
    columns, *rows = zip(["run", *map(_role, comparison.runs)], *shown, strict=True)
    note = f"The same for all runs: {'; '.join(alike)}." if alike else ""
    caption = "Samplers with all parameters"
    body = [Group("", [list(row) for row in rows])]
    return Table(caption, list(columns), body, note, frozenset(columns) - {"images"})


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
