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
    then: Callable[[Any], object] = lambda found: None,
    **channels: Callable[[str], object],
) -> Callable[..., Callable[..., None]]:
    """Makes a command of a signature: `harness.<name>` is called with what the user gave; options
    that are None keep the function's own default.

    `prepare` may change that first, `then` sees what the function gives. `channels` are further
    parameters of the function: where it says what.
    """

    def command(signature: Callable[..., None]) -> Callable[..., None]:
        @wraps(signature)
        def run(**given: Any) -> None:
            import harness

            known = {key: value for key, value in given.items() if value is not None}
            then(getattr(harness, name)(**prepare(known), **channels))

        return run

    return command


say: Callable[[str], object] = typer.echo
note: Callable[[str], object] = partial(typer.echo, err=True)
