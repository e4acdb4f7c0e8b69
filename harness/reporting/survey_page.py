"""The report of a survey: costs, scores and winning rates of many samplers, published numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.reporting import category_words, look_words, words
from harness.reporting.board import Board, BoardPage
from harness.reporting.cheapest_rival import survey_rivals
from harness.reporting.curve import CROSS_FITTED, EVERY_WEIGHT, UNTUNED
from harness.reporting.differences import differences
from harness.reporting.drawing import Drawing
from harness.reporting.figures import rate_bars
from harness.reporting.page import Page, RowGroup, Section, Table, by_metric
from harness.reporting.picture_grid import pictures
from harness.reporting.picture_sheet import picture_sheet
from harness.reporting.points import fronts, point_figures
from harness.reporting.published import beside_published
from harness.reporting.set_gaps import set_gaps, set_verdicts
from harness.reporting.survey_board import reasons, score_board, verdict_board
from harness.reporting.survey_curves import along_curves, curves
from harness.reporting.survey_headline import headline, lead, over
from harness.store import files
from harness.store.comparison_tables import BEST_OF, MetricInfo, holds_comparison
from harness.store.curve_rule import GUIDANCE_CURVE
from harness.store.survey_table import Rate, Row, Score, SurveyTable

SETTINGS = {
    "own": "winning rate, own settings",
    "matched cost": "matched cost",
    "matched guidance": "matched guidance",
    "matched cost and guidance": "both matched",
    GUIDANCE_CURVE: words.BEST_GUIDANCE,
}
_COLUMNS = {**SETTINGS, BEST_OF: "best of N"}


def _settings(survey: SurveyTable) -> list[str]:
    """The settings of comparison that any candidate was compared at."""
    made = {rate.setting for row in survey.rows for rate in row.rates}
    return [setting for setting in _COLUMNS if setting in made]


def full(survey: SurveyTable, out: str) -> BoardPage:
    """The whole report; candidates with a report of their own below `out` are linked to it."""
    tables = [
        runs(survey),
        along_curves(survey),
        fronts(survey),
        survey_rivals(survey),
        primaries(survey),
        every_rate(survey),
        differences(survey),
        set_gaps(survey),
        beside_published(survey),
        samplers(survey),
    ]
    drawings = [
        *curves(survey),
        *point_figures(survey),
        *winning_rates(survey),
        *picture_sheet(survey),
    ]
    links = {
        label: folder
        for label, folder in _own(survey).items()
        if files.exists(files.join(out, folder, "report.md"))
    }
    boards = _boards(survey, links)
    first = files.file_name(survey.headline or survey.metrics[0].name)
    section = Section("", [t for t in tables if t], drawings, commands=survey.commands)
    return BoardPage(
        headline(survey),
        [section],
        lines=[f"{over(survey)}.", *verdicts(survey), *remarks(survey)],
        links=links,
        over=over(survey),
        lead=lead(survey, bool(links)),
        boards=boards[:1],
        folded=boards[1:],
        front=frozenset(d.name for d in drawings if d.name.endswith(f"-{first}")),
        pictures=pictures(survey),
        look=not survey.headline,
    )


def _boards(survey: SurveyTable, links: dict[str, str]) -> list[Board]:
    """The board that the page begins with, and those that are folded."""
    pages = {label: f"{folder}/report/index.html" for label, folder in links.items()}
    scores = [score_board(survey)]
    if survey.headline is None:
        return scores
    first = survey.metric(survey.headline)
    metrics = [first, *(metric for metric in survey.metrics if metric != first)]
    boards = [verdict_board(survey, metric, pages) for metric in metrics]
    return [*(board for board in boards if board), *scores]


def brief(survey: SurveyTable, out: str) -> Page:
    """The report for a terminal: runs, the first metric, primary results, published numbers."""
    lead = (differences if survey.headline else fronts)(survey, survey.metrics[:1])
    tables = [
        replace(runs(survey), caption=""),
        lead,
        survey_rivals(survey, survey.metrics[:1]),
        primaries(survey),
        beside_published(survey),
    ]
    section = Section("", [table for table in tables if table])
    return Page("", [section], lines=[*verdicts(survey), *remarks(survey)])


def own_comparisons(survey: SurveyTable, out: str) -> dict[str, str]:
    """Folders of the comparisons that get a report of their own, by label."""
    folders = {label: files.join(out, folder) for label, folder in _own(survey).items()}
    return {label: folder for label, folder in folders.items() if holds_comparison(folder)}


_MOST_REPORTS = 40  # beyond, only candidates with a guidance curve get one


def _own(survey: SurveyTable) -> dict[str, str]:
    """Folders of the candidates that get a report of their own, by label."""
    compared = [row for row in survey.rows if row.folder]
    few = len(compared) <= _MOST_REPORTS
    return {row.label: row.folder for row in compared if row.folder and (row.curve or few)}


def winning_rates(survey: SurveyTable) -> list[Drawing]:
    """Bars of winning rates on the headline metric by sampler; none where nothing was paired."""
    rated = [row for row in survey.rows if row.rates]
    if survey.headline is None or not rated:
        return []
    entries = {
        row.label: {
            setting: rate
            for setting in _settings(survey)
            if (rate := row.rate(setting, survey.headline)) is not None
        }
        for row in rated
    }
    bars = rate_bars(
        entries,
        {setting: words.setting(setting) for setting in _settings(survey)},
        f"How often each sampler's image scores better on {survey.metric(survey.headline).label} "
        f"than the baseline's, in percent. {words.TIES_COUNT}. Whiskers: 95 % intervals over "
        "prompts; n: pairs.",
    )
    return [bars]


def runs(survey: SurveyTable) -> Table:
    """A row a run: NFE, a column a metric, and the winning rates on the headline metric."""
    headline, labels = survey.headline, [words.label(metric) for metric in survey.metrics]
    settings = _settings(survey) if headline else []
    more = [*labels[1:], words.BEST_GUIDANCE] if headline else []
    wide = frozenset({"guidance scale", *more})
    columns = ["run", "NFE", "guidance scale", *labels, *(_COLUMNS[name] for name in settings)]
    body = []
    for row in survey.rows:
        cells = [row.label, words.count(row.nfe), words.scale(row.guidance)]
        cells += [_score(row.scores.get(metric.name)) for metric in survey.metrics]
        cells += [_winning(row, setting, headline or "", short=True) for setting in settings]
        failed = f" ({row.failed:,} failed)" if row.failed else ""
        body.append([*cells, f"{row.images:,}{failed}"])
    note = (
        "NFE counts every network and branch, for one image. Guidance scale: nominal, the mean "
        "over images."
    )
    if headline:
        note += (
            f" Winning rates are on {survey.metric(headline).label}, with 95 % intervals over "
            f"{survey.population}; decided: the share of pairs that do not tie, and of wins among "
            "them, with its interval; undecided where nothing else is said. Where what would be "
            "matched is equal already, it is the same run that is told again."
        )
    note += "".join(f" Undefined ({words.NONE}): {reason}." for reason in reasons(survey))
    return Table(
        "All runs: costs and scores", [*columns, "images"], [RowGroup("", body)], note, wide=wide
    )


def every_rate(survey: SurveyTable) -> Table:
    """Winning rates on every metric and setting; empty where nothing was paired."""
    settings = _settings(survey)

    def rows(metric: MetricInfo) -> list[list[str]]:
        paired = [row for row in survey.rows if any(r.metric == metric.name for r in row.rates)]
        return [[row.label, *(_winning(row, s, metric.name) for s in settings)] for row in paired]

    return Table(
        "Winning rates on every metric",
        ["run", *(_COLUMNS[setting] for setting in settings)],
        by_metric(survey.metrics, rows),
        "NFE in brackets is the baseline's.",
    )


def primaries(survey: SurveyTable) -> Table | None:
    """The primary results, declared before looking; None where there are none."""
    body = [
        [
            row.label,
            f"{survey.metric(rate.metric).label}, {words.setting(rate.setting)}"
            + (f" ({look})" if (look := look_words.short(rate.look)) else ""),
            f"{_rate(rate)}{category_words.decided_line(rate)}",
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
    return Table(
        "Primary results",
        ["run", "primary result", "winning rate", "p", "p, Holm", "verdict"],
        [RowGroup("", body)],
        "Declared by the benchmark before looking. Holm's p-value allows for the number of "
        "candidates: verdicts go by it. Everything else is exploratory.",
        frozenset({"primary result", "verdict"}),
    )


def samplers(survey: SurveyTable) -> Table:
    """Each run with all parameters."""
    body = [
        [row.label, row.sampler, row.model + (f", guide {row.guide}" if row.guide else "")]
        for row in survey.rows
    ]
    columns = ["run", "sampler", "model"]
    return Table("What was run", columns, [RowGroup("", body)], "", frozenset(columns))


def verdicts(survey: SurveyTable) -> list[str]:
    """Sentences on which samplers win, lose or do neither: one a setting, then on chance."""
    metric, lines = survey.metric(survey.headline or ""), []
    for setting in _settings(survey):
        rates = [(row.label, row.rate(setting, metric.name)) for row in survey.rows]
        if listed := _by_verdict(rates):
            place = words.place(setting)
            about = f" {_about_curve(survey, metric)}" if setting == GUIDANCE_CURVE else ""
            lines.append(f"{place[0].upper()}{place[1:]}, on {metric.label}: {listed}.{about}")
        lines += category_words.survey_words(rates, survey.margin)
    lines += _looks(survey, metric)
    lines += set_verdicts(survey)
    paired = sum(1 for row in survey.rows if row.rates)
    declared = any(rate.role == "primary" for row in survey.rows for rate in row.rates)
    if paired:
        lines.append(category_words.speaks_of(survey.population, survey.categories))
    if paired and not declared:
        lines.append("No primary result is declared: every verdict is exploratory.")
    if paired > 1:
        kind = "exploratory verdict" if declared else "verdict"
        lines.append(
            f"Each {kind} stands for itself: of {paired} samplers no better than the baseline, "
            f"{0.05 * paired:.1f} would be expected to win or lose by chance."
        )
    return lines


def _about_curve(survey: SurveyTable, metric: MetricInfo) -> str:
    """How candidates are judged against the guidance curve on a metric."""
    rules = (rule for row in survey.rows for rule in row.curve_rules if rule.metric == metric.name)
    return f"{CROSS_FITTED if any(rule.crossed for rule in rules) else EVERY_WEIGHT} {UNTUNED}"


def _looks(survey: SurveyTable, metric: MetricInfo) -> list[str]:
    """Sentences on the looks at growing samples, each with the candidates that it is said of."""
    said: dict[str, list[str]] = {}
    for row in survey.rows:
        texts = {look_words.sentence(r.look) for r in row.rates if r.metric == metric.name}
        for text in sorted(texts - {""}):
            said.setdefault(text, []).append(row.label)
    return [f"{', '.join(labels)}: {text[0].lower()}{text[1:]}" for text, labels in said.items()]


def _by_verdict(rates: Sequence[tuple[str, Rate | None]]) -> str:
    """Labels by verdict as text; see `words.by_verdict`."""
    verdicts: dict[str, list[str]] = {}
    for label, rate in rates:
        if rate is not None:
            verdicts.setdefault(rate.verdict, []).append(label)
    listed = words.by_verdict(verdicts, ("wins", "loses", "equivalent"))
    return listed if not listed or "wins" in verdicts else f"none wins; {listed}"


def remarks(survey: SurveyTable) -> list[str]:
    """Sentences on the comparisons that were not made, with the reasons."""
    absent: dict[str, list[str]] = {}
    for row in survey.rows:
        for setting, reason in row.absent.items():
            absent.setdefault(f"{words.place(setting)}: {reason}", []).append(row.label)
    lines = [f"{', '.join(labels)} not compared {why}." for why, labels in absent.items()]
    return [*survey.notes, *lines]


def _score(score: Score | None) -> str:
    return words.NONE if score is None or score.value is None else words.estimate(score)


def _winning(row: Row, setting: str, metric: str, short: bool = False) -> str:
    rate = row.rate(setting, metric)
    if rate is None:
        return words.NONE
    if short:
        verdict = f" {rate.verdict}" if rate.verdict in ("wins", "loses") else ""
        return f"{_rate(rate)}{verdict}{category_words.decided_line(rate)}"
    cost = "" if rate.nfe is None else f" ({words.count(rate.nfe)} NFE)"
    return f"{_rate(rate)} {rate.verdict}{cost}{category_words.decided_line(rate)}"


def _rate(rate: Rate) -> str:
    if rate.value is None or rate.winning_rate.ends is None:
        return rate.reason or words.NONE
    return words.rate(rate.winning_rate)
