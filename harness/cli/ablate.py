"""`harness ablate`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.cli import app, options
from harness.cli.judging import show
from harness.cli.skin import skin
from harness.experiments.options import OF_ABLATION, with_options


@app.command(
    epilog="Example: [bold]harness ablate 'zigzag(steps=20)' --change inversion_guidance=1 "
    "--change rounds=2 --change 'zigzag_steps=5, rounds=3'[/bold]"
)
@with_options(OF_ABLATION, options.SHARED)
@skin("ablate", then=show)
def ablate(
    sampler: Annotated[str, typer.Argument(help=options.SAMPLER_HELP)],
    change: Annotated[
        list[str],
        typer.Option(help="PARAMETER=VALUE; a row each, of one or more parameters; repeated."),
    ],
    **shared: Any,
) -> None:
    """What does each part of a sampler do? Each change against the sampler as it is.

    Pairs are of the same prompt and noise; a change that costs more also meets the unchanged
    sampler at its cost, and at its guidance.
    """
