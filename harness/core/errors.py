"""The error that a user's mistake raises, and its messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HarnessError(Exception):
    """A user's mistake: one message that says what is wrong, the value given, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class NothingMade(HarnessError):
    """Work was done and nothing of it can be used; the command line exits with code 1."""


class NotHere(HarnessError):
    """Something that has to be downloaded first, where nothing may be."""


def unknown(kind: str, name: str, known: Iterable[str], where: str = "") -> HarnessError:
    """The error for a name that is not in `known`: suggests the closest match, or lists all."""
    names = sorted(known)
    # Where few names are known, list them all unless one is clearly meant.
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5 if len(names) > 5 else 0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}"
    return HarnessError(f"unknown {kind} {name!r}{f' for {where}' if where else ''}: {hint}")


def first_line(error: Exception | str) -> str:
    """The first line of an error's text, or its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
