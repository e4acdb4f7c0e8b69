"""The one kind of error that a user's mistake raises."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HarnessError(Exception):
    """A mistake a user can mend: one message that says what, what was found, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def unknown(kind: str, name: str, known: Iterable[str], where: str = "") -> HarnessError:
    """The error for a name that is not in `known`: the closest match, or all that is known."""
    names = sorted(known)
    # A few names are told sooner than one is guessed at.
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5 if len(names) > 5 else 0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}"
    return HarnessError(f"unknown {kind} {name!r}{f' for {where}' if where else ''}: {hint}")
