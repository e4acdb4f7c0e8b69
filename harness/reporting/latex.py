"""A comparison's tables for a paper, as LaTeX with booktabs, to `\\input`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.reporting import category_words, words
from harness.store.comparison_tables import BEST_OF, CANDIDATE, ComparisonTables, MetricInfo
from harness.store.curve_rule import GUIDANCE_CURVE
from harness.store.results import Mean, Result

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

_MARKS = {"best": "textbf:--rwrap;", "tied": "underline:--rwrap;"}
_SIGNS = str.maketrans(
    {
        "\N{MINUS SIGN}": "$-$",
        "↑": "$\\uparrow$",
        "↓": "$\\downarrow$",
        words.NONE: "--",
        words.SPACE: "~",
    }
)
_SPECIAL = str.maketrans({"\\": "\\textbackslash{}", **{c: f"\\{c}" for c in "%_#&${}"}})


def latex_tables(
    comparison: ComparisonTables, along: ComparisonTables | None = None
) -> dict[str, str]:
    """LaTeX of mean scores and of winning rates by file name; needs `\\usepackage{booktabs}`.

    The winning rates hold those over the guidance curve of `along`, too.
    """
    return {
        "scores.tex": _scores(comparison.without(BEST_OF)),
        "winning_rates.tex": _rates(comparison, along),
    }


def _scores(comparison: ComparisonTables) -> str:
    """A row a run; the best mean bold, those not significantly different underlined."""
    names, body, marks = words.run_names(comparison), [], []
    deviates = any(row.seed_sd is not None for row in comparison.means)
    means = {(row.run, row.metric): row for row in comparison.means}
    sets = {(row.run, row.metric): row.value for row in comparison.set_results}
    for role, run in comparison.runs.items():
        row = {
            "sampler": names[role],
            "run": role if role == CANDIDATE else words.setting(role),
            "NFE": words.count(run.cost.nfe),
            "MACs": words.macs(run.cost.macs),
        }
        mark = {}
        for metric in comparison.metrics:
            mean, label = means[role, metric.name], words.label(metric)
            row[label], mark[label] = _with_error(mean), _MARKS.get(mean.standing or "", "")
            if deviates:
                row[f"SD, {label}"] = words.number(mean.seed_sd)
        for metric in comparison.set_metrics:  # tested against the candidate alone: none is marked
            value = sets.get((role, metric.name))
            undefined = value is None or value.value is None
            row[words.label(metric)] = words.NONE if undefined else words.estimate(value)
        body.append(row)
        marks.append(dict.fromkeys(row, "") | mark)
    caption = (
        "Mean scores with their standard errors over prompts (SE) in brackets"
        + (f"; SD: standard deviation of the {_seeds(comparison)} seeds' means" if deviates else "")
        + ". Bold: best; underlined: not told apart from the best (all runs at once, paired by "
        "prompt: of equal runs, any lacks its mark in at most 5 % of cases). Scores of whole sets "
        f"have their intervals in brackets and are not marked. {_what(comparison)}"
    )
    styler = pd.DataFrame(body).style.apply(lambda _: pd.DataFrame(marks), axis=None)
    return _latex(styler, caption, "tab:scores", prose=2)


def _with_error(row: Mean) -> str:
    if row.mean.value is None:
        return words.NONE
    return f"{words.number(row.mean.value)} ({words.number(row.se)})"


def _rates(comparison: ComparisonTables, along: ComparisonTables | None) -> str:
    """A row a metric and comparison."""
    names = words.run_names(comparison)
    body = [
        {
            "metric": words.label(metric),
            "baseline": baseline,
            "winning rate": words.percent(row.winning_rate.value),
            "95 % interval": words.bounds(row.winning_rate) or words.NONE,
            "wins / ties / losses": words.outcomes(row),
            "pairs (prompts)": words.pairs(row),
            "decided: won": category_words.decided_cell(row),
            "p": words.p_value(row.p_value),
            "verdict": row.verdict,
        }
        for metric in comparison.metrics
        for baseline, row in _of_metric(comparison, along, names, metric)
    ]
    caption = (
        f"Winning rates of {names[CANDIDATE]}, {words.TIES_COUNTED}, with 95 % intervals over "
        f"{category_words.over(comparison)}; decided: the share of pairs that do not tie, "
        f"and of wins among them. {_what(comparison)}"
    )
    return _latex(pd.DataFrame(body).style, caption, "tab:winning-rates", prose=2)


def _of_metric(
    comparison: ComparisonTables,
    along: ComparisonTables | None,
    names: dict[str, str],
    metric: MetricInfo,
) -> Iterator[tuple[str, Result]]:
    """The results on a metric, each with its baseline's name; that over the curve last."""
    for role in comparison.baselines:
        yield f"{names[role]}, {words.setting(role)}", comparison.rate(role, metric.name)
    if along and along.curve:
        yield words.setting(GUIDANCE_CURVE), along.rate(GUIDANCE_CURVE, metric.name)


def _latex(styler: Styler, caption: str, label: str, prose: int) -> str:
    """A table as LaTeX; the first `prose` columns are text, the others numbers."""
    width = len(styler.columns)
    styler = styler.hide(axis="index").format(_signs, escape="latex")
    return str(
        styler.format_index(_signs, axis=1, escape="latex").to_latex(
            hrules=True,
            column_format="l" * prose + "r" * (width - prose),
            caption=_signs(caption.translate(_SPECIAL)),
            label=label,
            position_float="centering",
        )
    )


def _signs(text: Any) -> str:
    """Text with the characters that LaTeX's fonts may lack replaced by commands."""
    return str(text).translate(_SIGNS)


def _seeds(comparison: ComparisonTables) -> int:
    return len(comparison.candidate.seeds)


def _what(comparison: ComparisonTables) -> str:
    run = comparison.candidate
    seeds = words.plural(_seeds(comparison), "seed")
    return f"{run.model}, {words.plural(run.prompts, 'prompt')}, {seeds}."
