"""The report's tables of results as text, once for HTML, Markdown and the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from harness.metrics.set_statistics import BLOCKS
from harness.reporting import words
from harness.store.comparison_tables import CANDIDATE, Comparison, MetricInfo


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
                    role_name(role),
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


def role_name(role: str) -> str:
    """What a run is in a comparison."""
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
                    role_name(role),
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
