"""What `--dry-run` prints: a line a run, what it takes, and what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from harness.runs.forecast import Forecast


def shown_or(then: Callable[..., object]) -> Callable[..., object]:
    """`then` for what a command returns, but for a forecast, which is printed.

    Exit code 1 where something is missing on this machine.
    """

    def show(found: Any, **how: Any) -> None:
        from harness.runs.forecast import Forecast

        if not isinstance(found, Forecast):
            then(found, **how)
            return
        _print(found)
        if found.missing:
            raise typer.Exit(1)

    return show


def _print(found: Forecast) -> None:
    from harness.cli.information import print_table

    rows = [
        (
            run.name,
            f"{'' if run.sure else '~'}{run.job.nfe}",
            f"{run.done:,}/{run.images:,}",
            run.sampler,
        )
        for run in found.runs
    ]
    print_table(["run", "NFE", "here", "sampler"], rows)
    if not found.sure:
        typer.echo("~ estimated: matched runs are planned when candidate and baseline are made")
    for line in str(found).splitlines():
        typer.echo(line)
