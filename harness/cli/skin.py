"""Commands that are a function of the public face: the same parameters, what it says printed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import typer

Given = dict[str, Any]


def skin(
    name: str,
    prepare: Callable[[Given], Given] = lambda given: given,
    **channels: Callable[[str], object],
) -> Callable[..., Callable[..., None]]:
    """Makes a command of a signature: `harness.<name>` is called with what the user gave.

    `prepare` may change that first. `channels` are further parameters of the function: where it
    says what.
    """

    def command(signature: Callable[..., None]) -> Callable[..., None]:
        @wraps(signature)
        def run(**given: Any) -> None:
            import harness

            getattr(harness, name)(**prepare(given), **channels)

        return run

    return command


say: Callable[[str], object] = typer.echo
note: Callable[[str], object] = partial(typer.echo, err=True)
