"""`harness bench`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.cli import app, options
from harness.cli.judging import show
from harness.cli.skin import skin
from harness.experiments.options import OPTIONS, with_options


@app.command(
    epilog="Examples: [bold]harness bench zigzag[/bold] (embedded, on a CPU), "
    "[bold]harness bench 'zigzag(steps=50, guidance=5.5)' --model sdxl --bench pickapic "
    "--seeds 0-3 --workers 8[/bold]"
)
@with_options(OPTIONS, options.SHARED)
@skin("bench", then=show)
def bench(
    sampler: Annotated[str | None, typer.Argument(help=options.SAMPLER_HELP)] = None,
    **shared: Any,
) -> None:
    """Does a sampler beat the baseline? Generate, evaluate, compare, report: what is missing."""
