"""Commands as thin skins over functions of the public face, with the same parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import typer

Given = dict[str, Any]


def skin(
    name: str,
    prepare: Callable[[Given], Given] = lambda given: given,
    then: Callable[..., object] = lambda found: None,
    **channels: Callable[[str], object],
) -> Callable[..., Callable[..., None]]:
    """A decorator: turns a signature into a command that calls `harness.<name>` with the given
    options; those that are None keep the function's own default.

    `prepare` may change the options first, `then` receives what the function returns, and
    `verbose` where the command has that option. `channels` are the function's parameters for
    messages, and where these are printed.
    """

    def command(signature: Callable[..., None]) -> Callable[..., None]:
        @wraps(signature)
        def run(**given: Any) -> None:
            import harness

            shown = {"verbose": given.pop("verbose")} if "verbose" in given else {}
            known = {key: value for key, value in given.items() if value is not None}
            then(getattr(harness, name)(**prepare(known), **channels), **shown)

        return run

    return command


say: Callable[[str], object] = typer.echo
note: Callable[[str], object] = partial(typer.echo, err=True)
