"""Several samplers in about twenty lines of 80 columns: headline, a row a sampler, what decided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from harness.reporting import matrix_board, survey_headline, words
from harness.reporting.board import SIGNS
from harness.reporting.interval_bar import interval_bar, reach
from harness.reporting.survey_board import decisive, reasons
from harness.reporting.terminal import STYLES
from harness.store.comparison_tables import MetricInfo
from harness.store.matrix_table import MatrixTable
from harness.store.results import Estimate
from harness.store.survey_table import Rate, Row, Score, SurveyTable

_NAME = 27  # characters of a sampler's name before it takes a second line
_MOST = 20  # rows; of more, the best and the worst are shown


@dataclass(frozen=True)
class _Sampler:
    """A row: what is known of a sampler, as numbers and text."""

    name: str
    found: Estimate
    text: str
    more: list[str]
    verdict: str


def survey_short(survey: SurveyTable) -> list[RenderableType]:
    """The headline, a row a candidate in the comparison that decides, and what that is.

    Without a baseline, a row a run with its score on the first metric, the best first.
    """
    metric = survey.metric(survey.headline or survey.metrics[0].name)
    setting = decisive(survey, metric.name) if survey.headline else None
    head = Text(survey_headline.headline(survey), style="bold")
    if setting is None:
        return [head, *_scores(survey, metric), *_notes(survey)]
    found = survey_headline.compared(survey, setting, metric)
    ties = any(rate.decided is not None for _, rate in found)
    rows = [
        _Sampler(
            row.label,
            rate.winning_rate,
            words.plain_rate(rate.winning_rate).replace(f"{words.SPACE}%", ""),
            [*_decided(rate, ties), f"{words.count(row.nfe)}:{words.count(rate.nfe)}"],
            rate.verdict,
        )
        for row, rate in found
    ]
    rows.sort(key=lambda row: -(row.found.value or 0))
    far = reach([row.found for row in rows])
    columns = ["sampler", f"50 ± {100 * far:.0f}", "wins, %"]
    columns += [*(["decided"] if ties else []), "NFE", "verdict"]
    where = words.place(setting)
    primary = any(rate.role == "primary" for row in survey.rows for rate in row.rates)
    told = f"{where[0].upper()}{where[1:]}, on {words.label(metric)}, {words.TIES}; " + (
        "declared to decide, verdicts by Holm."
        if primary
        else "nothing is declared, all is exploratory."
    )
    table = _table(columns, rows, (0.5 - far, 0.5 + far))
    return [head, *table, Text(told, style="dim"), *_notes(survey)]


def _decided(rate: Rate, ties: bool) -> list[str]:
    """The share of pairs that do not tie, where any `ties` are known of (older tables: none)."""
    share = words.NONE if rate.decided is None else f"{100 * rate.decided:.0f} %"
    return [share] if ties else []


def _scores(survey: SurveyTable, metric: MetricInfo) -> Iterator[RenderableType]:
    """Runs by their score on a metric, the best first."""
    scored: list[tuple[Row, Score, float]] = [
        (row, score, score.value)
        for row in survey.rows
        if (score := row.scores.get(metric.name)) is not None and score.value is not None
    ]
    scored.sort(key=lambda found: -metric.sign * found[2])
    rows = [
        _Sampler(
            row.label,
            score,
            words.estimate(score),
            [words.count(row.nfe), _front(row, metric)],
            score.standing or "",
        )
        for row, score, _ in scored
    ]
    ends = [e for _, s, _ in scored for e in (s.value, s.low, s.high) if e is not None]
    if not rows:
        return
    columns = ["run", "interval", words.label(metric), "NFE", "front", ""]
    yield from _table(columns, rows, (min(ends), max(ends)), middle=False)
    signs = (
        f"{SIGNS['best']} best, {SIGNS['tied']} not told apart from it; "
        if any(row.verdict for row in rows)
        else ""
    )
    yield Text(f"{signs}front: on the Pareto front of score and cost.", style="dim")


def _front(row: Row, metric: MetricInfo) -> str:
    if metric.name not in row.dominated_by:
        return words.NONE
    return "no" if row.dominated_by[metric.name] else "yes"


def matrix_short(matrix: MatrixTable) -> list[RenderableType]:
    """The headline, and a row a sampler on the first metric, the best first."""
    shown = matrix_board.named(matrix)
    metric = shown.metrics[0]
    rows = []
    for rank in matrix_board.ranked(shown, metric):
        duels = matrix_board.duels_of(shown, rank.run, metric).values()
        found = [matrix_board.verdict(duel) for duel in duels]
        won = f"beats {found.count('wins')}, loses to {found.count('loses')}"
        mean = rank.winning_rate
        text = words.plain_rate(mean).replace(f"{words.SPACE}%", "")
        rows.append(_Sampler(rank.run, mean, text, [words.number(rank.strength.value, True)], won))
    far = reach([row.found for row in rows])
    columns = ["sampler", f"50 ± {100 * far:.0f}", "wins, %", "strength", f"of {len(rows) - 1}"]
    table = _table(columns, rows, (0.5 - far, 0.5 + far))
    prompts = max((r.winning_rate.n for r in matrix_board.ranked(shown, metric)), default=0)
    told = f"{words.label(metric)}: mean over the others, {words.plural(prompts, 'prompt')}, "
    note = f"{told}{words.TIES}. Exploratory. More: --verbose, and the report."
    return [Text(matrix_board.headline(shown), style="bold"), *table, Text(note, style="dim")]


def _table(
    columns: Sequence[str],
    rows: Sequence[_Sampler],
    ends: tuple[float, float],
    middle: bool = True,
) -> list[RenderableType]:
    """Rows with their bars; of many the best and the worst, and how many are between."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for at, name in enumerate(columns):
        left = at < 2 or at == len(columns) - 1
        table.add_column(
            name,
            justify="left" if left else "right",
            max_width=_NAME if at == 0 else None,
            no_wrap=at > 0,
        )
    half = _MOST // 2 - 2
    many = len(rows) > _MOST
    for row in [*rows[:half], *rows[-half:]] if many else rows:
        style = STYLES.get(row.verdict, "")
        bar = Text(interval_bar(row.found, ends, middle=middle), style)
        verdict = Text(
            SIGNS[row.verdict] if row.verdict in ("best", "tied") else row.verdict, style
        )
        table.add_row(row.name, bar, row.text, *row.more, verdict)
    left_out = f"The {half} best and the {half} worst; {len(rows) - 2 * half} are between."
    return [table, Text(left_out, style="dim")] if many else [table]


def _notes(survey: SurveyTable) -> Iterator[Text]:
    """What has no score, each reason once, failed images, and where more is."""
    for reason in reasons(survey):
        labels = [
            words.label(metric)
            for metric in survey.metrics
            if any(
                (score := row.scores.get(metric.name)) is not None
                and score.reason == reason
                and score.value is None
                for row in survey.rows
            )
        ]
        yield Text(f"No {', '.join(labels)}: {reason}.", style="dim")
    for row in survey.rows:
        if row.failed:
            text = f"{row.failed:,} of {row.images:,} images of {row.label} failed."
            yield Text(text, style="bold red")
    yield Text("More: --verbose, and the report.", style="dim")
