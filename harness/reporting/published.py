"""Table of published numbers beside a survey's own, and whether the two are comparable."""

from __future__ import annotations

from harness.reporting import words
from harness.reporting.page import RowGroup, Table
from harness.store.survey_table import PublishedNumber, Row, SurveyTable

UNSTATED = "not stated"


def beside_published(survey: SurveyTable) -> Table | None:
    """Each published number beside ours, with the images and evaluations of both; None where there
    are none."""
    body = []
    for row in survey.rows:
        for one in row.published:
            ours, n = _ours(row, one)
            name = survey.metric(one.metric).label
            number = f"winning rate on {name}" if one.winning_rate else name
            stated = [_stated(one.n, n), _stated(one.nfe, row.nfe)]
            values = [words.percent(one.value) if one.winning_rate else f"{one.value:g}", ours]
            standing = _standing(row, one, n)
            body.append([row.label, number, *values, *stated, standing, one.source])
    if not body:
        return None
    stated_columns = ["images: theirs, ours", "NFE: theirs, ours"]
    return Table(
        "Beside the published numbers",
        ["run", "number", "published", "ours", *stated_columns, "comparable", "source"],
        [RowGroup("", body)],
        "Pairs in place of images for a winning rate. NFE counts every evaluation of a network on "
        "one sample, a pair for guidance twice.",
        prose=frozenset({"number", "comparable", "source"}),
        wide=frozenset({*stated_columns, "source"}),
    )


def _ours(row: Row, one: PublishedNumber) -> tuple[str, int | None]:
    """Our number as text, and over how many images or pairs."""
    if one.winning_rate:
        rate = row.rate("own", one.metric)
        if rate is None or rate.value is None:
            return words.NONE, None
        return words.plain_rate(rate.winning_rate), rate.pairs
    score = row.scores.get(one.metric)
    if score is None or score.value is None:
        return words.NONE, None
    return words.estimate(score), score.n


def _stated(theirs: float | None, ours: float | None) -> str:
    return f"{UNSTATED if theirs is None else words.count(theirs)}, {words.count(ours)}"


def _standing(row: Row, one: PublishedNumber, n: int | None) -> str:
    """Whether the two are the same quantity over as many images at the same cost; else why not."""
    if n is None:
        return words.NONE
    against = [one.differs] if one.differs else []
    if one.n is not None and one.n != n:
        against.append(f"{one.n:,} against {words.plural(n, 'image')}")
    if one.nfe is not None and row.nfe is not None and one.nfe != row.nfe:
        against.append(f"{words.count(one.nfe)} against {words.count(row.nfe)} NFE")
    if against:
        return f"not comparable: {'; '.join(against)}"
    missing = [name for name, value in (("images", one.n), ("NFE", one.nfe)) if value is None]
    return f"unknown: {' and '.join(missing)} not stated" if missing else "yes"
