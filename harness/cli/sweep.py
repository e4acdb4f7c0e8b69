"""`harness sweep`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.cli import app, options
from harness.cli.judging import show
from harness.cli.skin import skin
from harness.experiments.options import OF_SWEEP, with_options


@app.command(
    epilog="Examples: [bold]harness sweep ddim heun --vary steps=5,10,20,40[/bold], [bold]harness "
    "sweep ddim --vary 'interval\\[0]=0.1,0.3,1' --vary 'interval\\[1]=2,5,15'[/bold]"
)
@with_options(OF_SWEEP, options.SHARED)
@skin("sweep", then=show)
def sweep(
    sampler: Annotated[list[str] | None, typer.Argument(help=options.SAMPLER_HELP)] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            help="PARAMETER=VALUE,VALUE,...; may be repeated: all combinations. "
            "'interval\\[0]=...' varies an entry of a list."
        ),
    ] = None,
    list_: Annotated[
        str | None, typer.Option("--list", help="File with one more sampler a line.")
    ] = None,
    cost: Annotated[
        str, typer.Option(help="What the Pareto front is against: nfe, macs or seconds.")
    ] = "nfe",
    **shared: Any,
) -> None:
    """Samplers with varied parameters: score and cost of each, and the Pareto front.

    Every point is an ordinary run: what a benchmark has made is used again, and the other way
    round. Steps and guidance that are not given are the benchmark's.
    """
