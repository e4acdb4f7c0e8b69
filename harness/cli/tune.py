"""`harness tune`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import app, options
from harness.cli.judging import show
from harness.cli.skin import skin
from harness.experiments.options import OF_TUNING, with_options

if TYPE_CHECKING:
    from harness.face.results import Tuned


def _show_choice(tuned: Tuned) -> None:
    show(tuned)
    for side, sampler in (("candidate", tuned.candidate), ("baseline", tuned.baseline)):
        typer.echo(f"{side}, best of {tuned.trials} on the dev split: {sampler}")


@app.command(
    epilog="Example: [bold]harness tune 'zigzag(steps=20)' --baseline ddim --vary "
    "guidance=1,2,4,6,8[/bold]"
)
@with_options(OF_TUNING, options.SHARED)
@skin("tune", then=_show_choice)
def tune(
    sampler: Annotated[str, typer.Argument(help=options.SAMPLER_HELP)],
    vary: Annotated[list[str], typer.Option(help="PARAMETER=VALUE,VALUE,..., for both sides.")],
    baseline_vary: Annotated[
        list[str] | None,
        typer.Option(help="Instead for the baseline: as many combinations of other parameters."),
    ] = None,
    **shared: Any,
) -> None:
    """Both sides at their best: tuned alike on the dev prompts, compared on the test prompts.

    The first metric chooses. Each side gets the same number of trials; --limit is for each split.
    """
