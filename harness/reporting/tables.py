"""Tables of a comparison's results: winning rates, effect sizes, mean and set scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.metrics.set_statistics import BLOCKS
from harness.reporting import category_words, words
from harness.reporting.page import RowGroup, Table, by_metric
from harness.reporting.shared_reasons import estimate_or_dash, reasons_note, shared_reasons
from harness.store.comparison_tables import CANDIDATE, ComparisonTables, MetricInfo
from harness.store.results import Estimate, Result


def cost_line(comparison: ComparisonTables, role: str) -> str:
    """Cost of an image and guidance scale as text, candidate against baseline."""
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


_DECIDED_COLUMN = "decided: won"
_DECIDED = (
    "decided: the share of pairs that do not tie, and the candidate's share of wins among them "
    "with its 95 % interval over prompts"
)

_GRID = {
    "own cost": ("own", "matched guidance"),
    "matched cost": ("matched cost", "matched cost and guidance"),
}


def two_by_two(comparison: ComparisonTables) -> Table | None:
    """Winning rates at own and matched cost, by own and matched guidance scale; None where
    guidance was not matched."""
    known = {*comparison.runs, *comparison.absent, *comparison.same}
    if not {"matched guidance", "matched cost and guidance"} & known:
        return None

    def rows(metric: MetricInfo) -> list[list[str]]:
        return [
            [cost, *(_answer(comparison, role, metric) for role in roles)]
            for cost, roles in _GRID.items()
        ]

    columns = ["baseline at", "own guidance scale", "matched guidance scale"]
    return Table(
        f"Does {comparison.candidate.sampler.name} win at the same cost, and at the same guidance?",
        columns,
        by_metric(comparison.metrics, rows),
        f"Winning rate with 95 % interval over {category_words.over(comparison)}; wins / ties / "
        f"losses, n: pairs (prompts); {_DECIDED}. "
        "↑ higher is better, ↓ lower is better. At matched cost the baseline has more steps, at "
        f"matched guidance {_matched_guidance(comparison)}.",
        frozenset(columns),
    )


def _matched_guidance(comparison: ComparisonTables) -> str:
    """The quantity that matched guidance equates, as text."""
    names = ("matched guidance", "matched cost and guidance")
    matched = (comparison.runs[n].sampler.params for n in names if n in comparison.runs)
    params = next(matched, {})
    if params.get("guidance_estimate") == "ga_eval":
        return "each image the scale that ga_eval gives the candidate's (arXiv:2602.22570)"
    if "guidance_like" in params:
        return "each image the nominal guidance scale of the candidate's"
    course = ", step by step" if "guidance_schedule" in params else ""
    return f"the candidate's nominal guidance scale{course}"


def _answer(comparison: ComparisonTables, role: str, metric: MetricInfo) -> str:
    """A cell of four lines: rate, outcomes, decided, verdict; a fifth names the same run."""
    same = comparison.same.get(role)
    if same is None and role not in comparison.baselines:
        return f"not compared: {comparison.absent.get(role, 'no baseline run')}"
    row = comparison.rate(role, metric.name)
    lines = [
        words.rate(row.winning_rate),
        f"{words.outcomes(row)}, n {words.pairs(row)}",
        f"decided {category_words.decided_cell(row)}",
        row.verdict,
    ]
    return "\n".join([*lines, f"the same run as at {words.setting(same)}"] if same else lines)


def winning_rates(comparison: ComparisonTables) -> Table:
    """Per comparison and metric: rate, wins, ties, losses, n, p, mean difference, verdict."""

    def cells(row: Result) -> list[str]:
        return [
            words.rate(row.winning_rate),
            words.outcomes(row),
            words.pairs(row),
            category_words.decided_cell(row),
            words.p_value(row.p_value),
            words.estimate(row.difference, signed=True),
            row.verdict,
        ]

    return Table(
        f"Winning rate of {comparison.candidate.sampler.name}, with 95 % intervals over "
        f"{category_words.over(comparison)}",
        [
            "metric",
            "winning rate",
            "wins / ties / losses",
            "pairs (prompts)",
            _DECIDED_COLUMN,
            "p",
            "mean difference",
            "verdict",
        ],
        [
            RowGroup(f"{title}. {cost_line(comparison, role)}", rows)
            for role, title, rows in _by_baseline(comparison, cells)
        ],
        "↑ higher is better, ↓ lower is better. The difference is candidate minus baseline in the "
        "metric's units, over pairs with a score on both sides. A verdict takes an interval "
        f"without 50 % and p < 0.05. {_DECIDED[0].upper()}{_DECIDED[1:]}."
        + words.equivalence(comparison)
        + _defined(comparison.metrics),
        frozenset({"verdict"}),
        frozenset({"p", "verdict"}),
    )


def _by_baseline(
    comparison: ComparisonTables, cells: Callable[[Result], list[str]]
) -> list[tuple[str, str, list[list[str]]]]:
    """Each baseline with a title, and a row a metric."""
    names = words.run_names(comparison)
    return [
        (
            role,
            f"{words.setting(role)}: {names[CANDIDATE]} vs {names[role]}",
            [[words.label(m), *cells(comparison.rate(role, m.name))] for m in comparison.metrics],
        )
        for role in comparison.baselines
    ]


def effects(comparison: ComparisonTables) -> Table:
    """Per comparison and metric: standardised difference, correlation, unpaired winning rate."""

    def cells(row: Result) -> list[str]:
        known = "" if row.crossed.value is None else f" ({row.crossed.n:,})"
        return [
            words.estimate(row.effect, signed=True),
            words.estimate(row.correlation, signed=True),
            words.rate(row.crossed) + known,
            words.mcnemar(row),
            words.percent(row.detectable),
        ]

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
        [RowGroup(title, rows) for _, title, rows in _by_baseline(comparison, cells)],
        "With common noise a tiny gain everywhere wins every pair. So: the mean difference in "
        "units of the baseline's deviation over seeds of a prompt; how alike the two scores of a "
        "pair are; the winning rate over all pairs of two different seeds of a prompt, without "
        "common noise (prompts in brackets). Detectable: the smallest winning rate that as many "
        "pairs would show in 80 % of cases. 95 % intervals over prompts.",
    )


def scores(comparison: ComparisonTables) -> Table:
    """Per metric and run: mean score with interval, n, and what an image cost."""

    def rows(metric: MetricInfo) -> list[list[str]]:
        return [
            [
                role_name(row.run),
                words.estimate(row.mean),
                f"{row.images:,} ({row.mean.n:,})",
                *_cost(comparison, row.run),
            ]
            for row in comparison.means
            if row.metric == metric.name
        ]

    return Table(
        "Mean scores of each run's own images, with cost",
        ["run", "mean", "images (prompts)", *_COST],
        by_metric(comparison.metrics, rows),
        "Means weigh every prompt the same; 95 % intervals over prompts. NFE: network evaluations "
        "an image, all networks and branches; a guided step is two. Seconds: sampling and decoding "
        "in batches, as measured on the device named with the runs.",
    )


_COST = ("failed", "NFE", "seconds an image")


def _cost(comparison: ComparisonTables, role: str) -> list[str]:
    run = comparison.runs[role]
    failed = f"{sum(run.failed.values()):,}"
    return [failed, words.count(run.cost.nfe), words.seconds(run.cost.seconds)]


def role_name(role: str) -> str:
    """A run's role in a comparison, as text."""
    return role if role == CANDIDATE else f"baseline, {words.setting(role)}"


def categories(comparison: ComparisonTables, metric: MetricInfo) -> Table | None:
    """Winning rates on one metric by category, a column a comparison; None without categories."""
    rows = [row for row in comparison.results if row.metric == metric.name and row.category]
    cells = {
        (row.comparison, row.category): [
            words.rate(row.winning_rate),
            words.outcomes(row),
            words.pairs(row),
            category_words.decided_cell(row),
        ]
        for row in rows
    }
    roles, columns = [*comparison.baselines], ["category"]
    for role in roles:
        columns += [words.setting(role), "wins / ties / losses", "pairs (prompts)"]
        columns += [_DECIDED_COLUMN]
    body = [
        [
            category,
            *(text for role in roles for text in cells.get((role, category), 4 * [words.NONE])),
        ]
        for category in sorted({row.category for row in rows if row.category})
    ]
    title = f"Winning rate by category on {words.label(metric)}"
    return Table(title, columns, [RowGroup("", body)]) if body else None


def set_scores(comparison: ComparisonTables) -> Table | None:
    """Scores of whole runs on set metrics, with n and interval; None if there are none."""
    if not comparison.set_results:
        return None
    results = comparison.set_results
    shared = shared_reasons((row.value, row.difference, row.corrected) for row in results)

    def rows(metric: MetricInfo) -> list[list[str]]:
        return [
            [
                role_name(row.run),
                estimate_or_dash(row.value, shared),
                _difference(row.difference, shared),
                estimate_or_dash(row.corrected, shared, signed=True),
                row.verdict or words.NONE,
                f"{row.value.n:,}",
                *_cost(comparison, row.run),
            ]
            for row in comparison.set_results
            if row.metric == metric.name
        ]

    names = words.run_names(comparison)
    notes = [f"{names[r.run]}: {r.warning}." for r in comparison.set_results if r.warning]
    notes.append(
        "A - B: the candidate minus this run, over the same images. Corrected: without the bias of "
        "few images, which unequal spread of the two sides leaves in a difference of Frechet "
        "distances; the verdict goes by it. 95 % intervals and correction by a jackknife over "
        f"{BLOCKS} blocks of prompts, the same blocks on both sides."
    )
    return Table(
        "Scores of whole sets of images",
        ["run", "value", "A - B", "A - B, corrected", "verdict", "images", *_COST],
        by_metric(comparison.set_metrics, rows),
        " ".join(notes) + _defined(comparison.set_metrics) + reasons_note(shared),
        frozenset({"verdict"}),
        frozenset(_COST),
    )


def _difference(found: Estimate, shared: Sequence[str]) -> str:
    known = found.value is not None or found.reason not in shared
    return words.without_interval(found) if known else words.NONE


def _defined(metrics: Sequence[MetricInfo]) -> str:
    """Definitions of the metrics, a sentence each."""
    return "".join(f" {metric.label}: {metric.about}." for metric in metrics if metric.about)
