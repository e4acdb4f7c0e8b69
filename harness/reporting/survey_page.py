"""A survey as tables: what each sampler cost and scored, whom it beats, what was published."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from harness.reporting import words
from harness.reporting.curve import PICKED
from harness.reporting.differences import differences
from harness.reporting.drawing import Drawing, write_drawings
from harness.reporting.figures import rate_bars
from harness.reporting.markdown import escape, table_lines
from harness.reporting.points import fronts, point_figures
from harness.reporting.published import beside_published
from harness.reporting.survey_curves import against_best, along_curves, curves
from harness.reporting.tables import Group, Table
from harness.store import files
from harness.store.survey_table import Rate, Row, Score, Survey

if TYPE_CHECKING:
    from rich.console import RenderableType

SETTINGS = {
    "own": "winning rate, own settings",
    "matched cost": "matched cost",
    "matched guidance": "matched guidance",
    "matched cost and guidance": "both matched",
}


def _settings(survey: Survey) -> list[str]:
    """The comparisons that were made, of any candidate."""
    made = {rate.setting for row in survey.rows for rate in row.rates}
    return [setting for setting in SETTINGS if setting in made]


def write_survey(survey: Survey, folder: str) -> str:
    """Write `index.html`, `report.md` and `figures/` into `folder`; the page's path.

    Candidates with a guidance curve get a report of their own each, below `folder`, linked to.
    """
    from harness.reporting.page import tables_page

    said = [*verdicts(survey), *remarks(survey)]
    drawings = [*winning_rates(survey), *curves(survey), *point_figures(survey)]
    found = [
        runs(survey),
        along_curves(survey),
        fronts(survey),
        primaries(survey),
        every_rate(survey),
        differences(survey),
        beside_published(survey),
        samplers(survey),
    ]
    shown = [table for table in found if table and table.groups]
    page = files.join(folder, "index.html")
    links = _reports(survey, folder)
    pages = {label: f"{name}/report/index.html" for label, name in links.items()}
    text = tables_page(survey.title, said, shown, drawings, survey.commands, pages)
    files.write_text(page, text)
    write_drawings(drawings, files.join(folder, "figures"))
    lines = [f"# {escape(survey.title)}", "", *[f"- {escape(line)}" for line in said]]
    lines += [f"\n![{escape(one.caption)}](figures/{one.name}.svg)" for one in drawings]
    lines += ["", "Each candidate's own report:", ""] if links else []
    lines += [f"- [{escape(label)}]({name}/report.md)" for label, name in links.items()]
    lines += [table_lines(table) for table in shown]
    if survey.commands:
        lines += ["", "```", *survey.commands, "```"]
    files.write_text(files.join(folder, "report.md"), "\n".join(lines) + "\n")
    return page


def _reports(survey: Survey, folder: str) -> dict[str, str]:
    """Write the reports of candidates with a curve; the folder of each, by label, below `folder`.

    Where the comparisons are gone and a report is there, that is linked to.
    """
    from harness.reporting import write_report
    from harness.store.comparison_tables import holds_comparison, load_comparison

    found = {}
    for row in survey.rows:
        if row.folder is None or not row.curve:
            continue
        path = files.join(folder, row.folder)
        if holds_comparison(path):
            write_report(load_comparison(path), path)
        if files.exists(files.join(path, "report.md")):
            found[row.label] = row.folder
    return found


def winning_rates(survey: Survey) -> list[Drawing]:
    """Bars on the headline metric, a group a sampler; none where nothing was paired."""
    rated = [row for row in survey.rows if row.rates]
    if survey.headline is None or not rated:
        return []
    entries = {
        row.label: {
            setting: _series(rate)
            for setting in _settings(survey)
            if (rate := row.rate(setting, survey.headline)) is not None
        }
        for row in rated
    }
    legend = {setting: words.setting(setting) for setting in _settings(survey)}
    caption = (
        f"How often each sampler's image scores better on {survey.metric(survey.headline).label} "
        "than the baseline's, in percent. Ties count half. Whiskers: 95 % intervals over prompts; "
        "n: pairs."
    )
    return [rate_bars(entries, legend, caption)]


def _series(rate: Rate) -> pd.Series:
    shown = {"winning_rate": rate.value, "low": rate.low, "high": rate.high}
    return pd.Series({**shown, "pairs": rate.pairs, "reason": rate.reason}, dtype=object)


def survey_tables(survey: Survey) -> list[RenderableType]:
    """What to print: the table without intervals of scores, verdicts, published numbers."""
    from rich.text import Text

    from harness.reporting.console import plain_table

    shown: list[RenderableType] = [plain_table(runs(survey, short=True))]
    lead = (differences if survey.headline else fronts)(survey, survey.metrics[:1])
    for table in (lead, primaries(survey), beside_published(survey, short=True)):
        if table is not None and table.groups:
            shown += [Text(table.caption, style="bold"), plain_table(table)]
    return shown + [Text(line) for line in [*verdicts(survey), *remarks(survey)]]


def runs(survey: Survey, short: bool = False) -> Table:
    """A row a run: NFE, a column a metric, and the winning rates on the headline metric.

    `short` is what a terminal has room for: the first metric, and verdicts where there are any.
    """
    headline = survey.headline
    shown = survey.metrics[:1] if short and headline else survey.metrics
    columns = ["run", "NFE", *([] if short else ["guidance scale"])]
    columns += [words.label(metric) for metric in shown]
    settings = _settings(survey) if headline else []
    columns += [SETTINGS[setting] for setting in settings]
    columns += ["images"]
    body = []
    for row in survey.rows:
        cells = [row.label, words.count(row.nfe)]
        cells += [] if short else [words.scale(row.guidance)]
        cells += [_score(row.scores.get(metric.name)) for metric in shown]
        if headline:
            cells += [_winning(row, setting, headline, short=True) for setting in settings]
        failed = f" ({row.failed:,} failed)" if row.failed else ""
        body.append([*cells, f"{row.images:,}{failed}"])
    note = "NFE counts every network and branch, for one image."
    if not short:
        note += " Guidance scale: nominal, the mean over images."
    if headline:
        note += (
            f" Winning rates are on {survey.metric(headline).label}, with 95 % intervals over "
            "prompts; undecided where nothing else is said. Where what would be matched is equal "
            "already, it is the same run that is told again."
        )
    note += "".join(f" Undefined ({words.NONE}): {reason}." for reason in _reasons(survey))
    return Table(survey.title, columns, [Group("", body)], note)


def _reasons(survey: Survey) -> list[str]:
    """Why scores are undefined."""
    scores = [score for row in survey.rows for score in row.scores.values()]
    return sorted({score.reason for score in scores if score.value is None and score.reason})


def every_rate(survey: Survey) -> Table | None:
    """Winning rates on every metric; None where nothing was paired."""
    groups, settings = [], _settings(survey)
    for metric in survey.metrics:
        paired = [row for row in survey.rows if any(r.metric == metric.name for r in row.rates)]
        body = [[row.label, *(_winning(row, s, metric.name) for s in settings)] for row in paired]
        groups += [Group(words.label(metric), body)] if body else []
    if not groups:
        return None
    note = "NFE in brackets is the baseline's."
    columns = ["run", *(SETTINGS[setting] for setting in settings)]
    return Table("Winning rates on every metric", columns, groups, note)


def primaries(survey: Survey) -> Table | None:
    """The results that were declared before looking; None where there are none."""
    body = [
        [
            row.label,
            f"{survey.metric(rate.metric).label}, {words.setting(rate.setting)}",
            _rate(rate),
            words.p_value(rate.p_value),
            words.p_value(rate.p_holm),
            rate.verdict,
        ]
        for row in survey.rows
        for rate in row.rates
        if rate.role == "primary"
    ]
    if not body:
        return None
    columns = ["run", "primary result", "winning rate", "p", "p, Holm", "verdict"]
    note = (
        "Declared by the benchmark before looking. Holm's p-value allows for the number of "
        "candidates: verdicts go by it. Everything else is exploratory."
    )
    prose = frozenset({"primary result", "verdict"})
    return Table("Primary results", columns, [Group("", body)], note, prose)


def samplers(survey: Survey) -> Table:
    """Each run with all parameters."""
    body = [
        [row.label, row.sampler, row.model + (f", guide {row.guide}" if row.guide else "")]
        for row in survey.rows
    ]
    columns = ["run", "sampler", "model"]
    return Table("What was run", columns, [Group("", body)], "", frozenset(columns))


def verdicts(survey: Survey) -> list[str]:
    """Who wins, who loses and who does neither, a line a setting."""
    lines = []
    for setting in _settings(survey):
        said: dict[str, list[str]] = {}
        for row in survey.rows:
            rate = row.rate(setting, survey.headline or "")
            if rate is not None:
                said.setdefault(rate.verdict, []).append(row.label)
        if said:
            metric = survey.metric(survey.headline or "").label
            lines.append(f"At {words.setting(setting)}, on {metric}: {_said(said)}.")
    if said := against_best(survey):
        metric = survey.metric(survey.headline or "").label
        lines.append(
            "Against the best of the baseline's guidance curve at matched cost, on "
            f"{metric}: {_said(said)}. {PICKED}"
        )
    paired = sum(1 for row in survey.rows if row.rates)
    declared = any(rate.role == "primary" for row in survey.rows for rate in row.rates)
    if paired and not declared:
        lines.append("No primary result is declared: every verdict is exploratory.")
    if paired > 1:
        kind = "exploratory verdict" if declared else "verdict"
        lines.append(
            f"Each {kind} stands for itself: of {paired} samplers no better than the baseline, "
            f"{0.05 * paired:.1f} would be expected to win or lose by chance."
        )
    return lines


_NAMED = 3  # of those of which nothing can be said


def _said(verdicts: dict[str, list[str]]) -> str:
    """Who wins and who loses, by name; the others by number where they are many."""
    parts = [] if "wins" in verdicts else ["none wins"]
    others = "all" if len(verdicts) == 1 else "the other"
    for verdict in sorted(verdicts, key=("wins", "loses", "equivalent").__contains__, reverse=True):
        labels = verdicts[verdict]
        named = verdict in ("wins", "loses", "equivalent") or len(labels) <= _NAMED
        whom = ", ".join(labels) if named else f"{others} {len(labels)}"
        parts.append(f"{verdict}: {whom}")
    return "; ".join(parts)


def remarks(survey: Survey) -> list[str]:
    """What was left out, and why."""
    absent: dict[str, list[str]] = {}
    for row in survey.rows:
        for setting, reason in row.absent.items():
            absent.setdefault(f"at {words.setting(setting)}: {reason}", []).append(row.label)
    found = [f"{', '.join(labels)} not compared {why}." for why, labels in absent.items()]
    return [*survey.notes, *found]


def _score(score: Score | None) -> str:
    if score is None or score.value is None:
        return words.NONE
    return words.estimate(score.value, score.low, score.high, score.reason)


def _winning(row: Row, setting: str, metric: str, short: bool = False) -> str:
    rate = row.rate(setting, metric)
    if rate is None:
        return words.NONE
    if short:
        return _rate(rate) + (f" {rate.verdict}" if rate.verdict in ("wins", "loses") else "")
    cost = "" if rate.nfe is None else f" ({words.count(rate.nfe)} NFE)"
    return f"{_rate(rate)} {rate.verdict}{cost}"


def _rate(rate: Rate | None) -> str:
    if rate is None:
        return words.NONE
    if rate.value is None or rate.low is None or rate.high is None:
        return rate.reason or words.NONE
    return f"{words.percent(rate.value)} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
