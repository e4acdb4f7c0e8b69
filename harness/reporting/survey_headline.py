"""A survey's headline in one sentence, and the line below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.reporting import look_words, words
from harness.reporting.board import legend
from harness.reporting.survey_board import decisive
from harness.store.comparison_tables import BEST_OF, MetricInfo
from harness.store.curve_rule import GUIDANCE_CURVE
from harness.store.survey_table import Rate, Row, SurveyTable

_NAMED = 3  # the most winners that are named
_ONE = {
    "wins": "{name} beats {what}",
    "loses": "{name} loses to {what}",
    "equivalent": "{name} is equivalent to {what}",
    "undecided": "{name} against {what}: undecided",
    "undefined": "{name} cannot be compared with {what}",
}
_OTHERS = {
    "wins": ("wins", "win"),
    "loses": ("loses", "lose"),
    "equivalent": ("is equivalent", "are equivalent"),
    "undecided": ("is undecided", "are undecided"),
    "undefined": ("cannot be compared", "cannot be compared"),
}


def headline(survey: SurveyTable) -> str:
    """Who beats the baseline where it was declared to count, or at the fairest comparison.

    Without a baseline: which run scores best, and how many are not told apart from it.
    """
    metric = survey.metric(survey.headline or "")
    setting = decisive(survey, metric.name) if survey.headline else None
    if setting is None:
        return _best(survey)
    rates = compared(survey, setting, metric)
    what = _what(survey, setting, metric)
    if len(rates) == 1:
        ((row, rate),) = rates
        return _ONE[rate.verdict].format(name=row.label, what=what)
    winners = [row.label for row, rate in rates if rate.verdict == "wins"]
    rest = Counter(rate.verdict for _, rate in rates if rate.verdict != "wins")
    if not winners:
        lead = f"None of {len(rates)} candidates beats {what}"
    elif len(winners) <= _NAMED:
        lead = f"{words.joined(winners)} {'beat' if len(winners) > 1 else 'beats'} {what}"
        lead += f"; of the other {sum(rest.values())}" if rest else ""
    else:
        lead = f"{len(winners)} of {len(rates)} candidates beat {what}"
    counts = [f"{rest[one]} {forms[rest[one] > 1]}" for one, forms in _OTHERS.items() if rest[one]]
    named = 0 < len(winners) <= _NAMED
    return f"{lead}{' ' if named else '; '}{words.joined(counts)}" if counts else lead


def compared(survey: SurveyTable, setting: str, metric: MetricInfo) -> list[tuple[Row, Rate]]:
    """The candidates that were compared in a setting, with their winning rates."""
    known = ((row, row.rate(setting, metric.name)) for row in survey.rows)
    return [(row, rate) for row, rate in known if rate is not None]


def _what(survey: SurveyTable, setting: str, metric: MetricInfo) -> str:
    """The baseline in a setting, and the metric."""
    against = baseline(survey)
    if setting == GUIDANCE_CURVE:
        return f"the best guidance of {against} at equal cost on {metric.label}"
    if setting == BEST_OF:
        return f"the best of several pictures of {against} on {metric.label}"
    return f"{against} on {metric.label} at {words.setting(setting)}"


def baseline(survey: SurveyTable) -> str:
    """The baseline's name, if there is but one."""
    names = [row.label.removeprefix("baseline ") for row in survey.rows if row.baseline]
    return names[0] if len(names) == 1 else "its baseline"


def _best(survey: SurveyTable) -> str:
    """The run that scores best on the first metric, and the runs not told apart from it."""
    metric, *_ = survey.metrics
    known = [(row, score) for row in survey.rows if (score := row.scores.get(metric.name))]
    scored = [(row, score, score.value) for row, score in known if score.value is not None]
    if not scored:
        return f"No run has a score on {metric.label}"
    row, score, _ = max(scored, key=lambda found: metric.sign * found[2])
    clauses = [
        f"Best on {words.label(metric)}: {row.label}, {words.estimate(score)}, n {score.n:,}"
    ]
    if any(one.standing for _, one, _ in scored):
        tied = sum(one.standing == "tied" for _, one, _ in scored)
        others = len(scored) - 1
        every = "none of the others is told apart from it"
        some = f"{tied or 'none'} of the other {others} not told apart from it"
        clauses.append(every if tied == others else some)
    return "; ".join(clauses)


def over(survey: SurveyTable) -> str:
    """What was compared, on what, and what the numbers are."""
    models = list(dict.fromkeys(row.model for row in survey.rows))
    images = sorted({row.images for row in survey.rows})
    count = f"{images[0]:,}" if len(images) == 1 else f"{images[0]:,} to {images[-1]:,}"
    parts = [survey.title, ", ".join(models[:3]) + (", ..." if len(models) > 3 else "")]
    parts.append(f"{count} images a run")
    if survey.headline:
        parts.append(f"rates of pairs won, {words.TIES}; 95 % intervals over {survey.population}")
    return " · ".join(parts)


def lead(survey: SurveyTable, links: bool = False) -> str:
    """What was declared, and how to read the board."""
    if not survey.headline:
        return ""
    rates = [rate for row in survey.rows for rate in row.rates]
    primary = [rate for rate in rates if rate.role == "primary"]
    parts = [
        f"Declared before looking; its verdicts allow for {words.plural(len(primary), 'candidate')}"
        " (Holm), the others are exploratory."
        if primary
        else "No primary result is declared: every verdict is exploratory."
    ]
    parts += _looks(primary)
    parts.append(legend([rate.verdict for rate in rates]) + ".")
    parts += ["A row leads to its pairs of pictures."] if links else []
    return " ".join(parts)


def _looks(primary: Sequence[Rate]) -> list[str]:
    """At which looks at growing samples the declared results stand, if these are not the last."""
    texts = {look_words.short(rate.look) for rate in primary} - {""}
    return [f"{'; '.join(sorted(texts))}."] if texts else []
