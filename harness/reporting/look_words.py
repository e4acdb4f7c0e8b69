"""Which look at a growing sample a comparison is, in words; nothing for the first and only one."""

from __future__ import annotations

from harness.reporting import words
from harness.store.comparison_tables import ComparisonTables
from harness.store.looks import Look

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
_WHOLE = 0.0499


def ordinal(number: int) -> str:
    """first, second, ..., ninth, number 10."""
    return _ORDINALS[number - 1] if number <= len(_ORDINALS) else f"number {number}"


def short(look: Look | None) -> str:
    """A few words for a title or a cell; empty where there is nothing to say."""
    if look is None:
        return ""
    count = "" if look.number is None else f"{ordinal(look.number)} look"
    if look.planned is None or look.level is None:
        return f"{count}, p not corrected" if (look.number or 1) > 1 else ""
    if look.level >= _WHOLE:
        return ""
    if not look.level:
        share = "beyond" if look.images > look.planned else "too few of"
        return f"{count}, {share} the {look.planned:,} images declared".removeprefix(", ")
    least = f"p < {_level(look.level)} decides"
    done = look.images >= look.planned
    early = "" if done else f" at {look.images:,} of {look.planned:,} images declared"
    return f"{count}{early}: {least}".strip()


def sentence(look: Look | None) -> str:
    """The same as a sentence, with what it means; empty where there is nothing to say."""
    if look is not None and look.problem:
        return f"Looks could not be counted: {look.problem}."
    text = short(look)
    if look is None or not text:
        return ""
    text = f"{text[0].upper()}{text[1:]}."
    if look.level is None:
        return f"{text} The same was compared before on other images of this sample."
    if look.level:
        return f"{text} So at most 5{words.SPACE}% of verdicts are false, however often one looks."
    if look.images > (look.planned or 0):
        return f"{text} An earlier look has used up the 5{words.SPACE}%: this one decides nothing."
    return f"{text} This look decides nothing."


def _level(level: float) -> str:
    return f"{level:.2g}" if level >= 0.0001 else f"{level:.0e}"


def in_title(comparison: ComparisonTables) -> str:
    """For a title: of the declared comparison, else of the one that was looked at most often."""
    metric = comparison.metrics[0].name
    looks = [look for look in comparison.looks if look.metric == metric]
    declared = [look for look in looks if look.planned is not None]
    return short(max(declared or looks, key=lambda look: look.number or 0, default=None))
