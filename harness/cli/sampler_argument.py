"""The sampler's place in a command: first, and as `--sampler` where that is typed instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

import typer

from harness.cli.option_types import SAMPLER_HELP
from harness.cli.skin import Given, note
from harness.core.errors import HarnessError

Sampler = Annotated[list[str] | None, typer.Argument(metavar="SAMPLER", help=SAMPLER_HELP)]
Samplers = Annotated[list[str] | None, typer.Argument(metavar="SAMPLER...", help=SAMPLER_HELP)]
Typed = Annotated[list[str] | None, typer.Option("--sampler", hidden=True)]
"""`--sampler`, which is understood but not shown."""

_LOOSE = re.compile(r"[A-Za-z_][\w.\[\]]*=")


def several(given: Given) -> Given:
    """The options of a command with its samplers, wherever they were typed, under `sampler`."""
    places, typed = given.pop("sampler", None) or [], given.pop("typed", None) or []
    if loose := [text for text in places if _LOOSE.match(text)]:
        first = next((text for text in places if text not in loose), "ddim")
        raise HarnessError(
            f"{loose[0]} is no sampler: its parameters stand in brackets, "
            f"'{first.rstrip(')')}{', ' if '(' in first else '('}{', '.join(loose)})'"
        )
    if typed:
        note(f"the sampler may stand first, without --sampler: {' '.join(map(repr, typed))}")
    return {"sampler": [*places, *typed], **given} if places or typed else given


def single(given: Given) -> Given:
    """The same for a command of one sampler."""
    given = several(given)
    if len(samplers := given.get("sampler", [])) > 1:
        raise HarnessError(
            f"one sampler is expected, not {len(samplers)}: {', '.join(samplers)}. Parameters "
            "stand in brackets, 'zigzag(steps=20)'; harness sweep takes several samplers"
        )
    return {**given, "sampler": samplers[0]} if samplers else given


def needed(read: Callable[[Given], Given]) -> Callable[[Given], Given]:
    """`several` or `single` for a command that needs a sampler."""

    def checked(given: Given) -> Given:
        given = read(given)
        if "sampler" not in given:
            raise HarnessError("no sampler is named: see 'harness list samplers'")
        return given

    return checked
