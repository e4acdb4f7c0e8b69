"""Why numbers are undefined: a reason that several rows share is told once, below their table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from harness.reporting import words
from harness.store.results import Estimate


def shared_reasons(rows: Iterable[Iterable[Estimate]]) -> list[str]:
    """The reasons for which numbers of more than one row are undefined, in order of appearance."""
    by_row = [dict.fromkeys(e.reason for e in row if e.value is None and e.reason) for row in rows]
    reasons = Counter(reason for row in by_row for reason in row)
    return [reason for reason, count in reasons.items() if count > 1]


def estimate_or_dash(found: Estimate, shared: Iterable[str], signed: bool = False) -> str:
    """A number with its interval; undefined, its reason, or a dash where that is a shared one."""
    if found.value is None and found.reason in set(shared):
        return words.NONE
    return words.estimate(found, signed)


def reasons_note(shared: Iterable[str]) -> str:
    """What the dashes stand for, to end a table's note with."""
    return "".join(f" {words.NONE}: {reason}." for reason in shared)
