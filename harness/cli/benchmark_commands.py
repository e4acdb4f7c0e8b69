"""`harness bench`, `sweep`, `tune` and `ablate`: runs made, evaluated and compared in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import app
from harness.cli import option_types as options
from harness.cli.forecasts import shown_or
from harness.cli.judging_commands import show
from harness.cli.sampler_argument import Sampler, Samplers, Typed, needed, several, single
from harness.cli.skin import skin
from harness.experiments.options import OF_ABLATION, OF_SWEEP, OF_TUNING, OPTIONS, with_options

if TYPE_CHECKING:
    from harness.face.answers import Tuned


@app.command(
    epilog="Examples: [bold]harness bench zigzag[/bold] (embedded, on a CPU), "
    "[bold]harness bench 'zigzag(steps=50, guidance=5.5)' --model sdxl --bench pickapic "
    "--seeds 0-3 --workers 8[/bold]"
)
@with_options(OPTIONS, options.SHARED)
@skin("bench", single, then=shown_or(show))
def bench(
    sampler: Sampler = None,
    typed: Typed = None,
    dry_run: options.DryRun = False,
    verbose: options.Verbose = False,
    **shared: Any,
) -> None:
    """Does a sampler beat the baseline? Makes, scores and compares what is missing, and reports.

    Without a sampler: the benchmark's candidate, or all its candidates in one table.
    """


@app.command(
    epilog="Examples: [bold]harness sweep ddim heun --vary steps=5,10,20,40[/bold], [bold]harness "
    "sweep ddim --vary 'interval\\[0]=0.1,0.3,1' --vary 'interval\\[1]=2,5,15'[/bold]"
)
@with_options(OF_SWEEP, options.SHARED)
@skin("sweep", several, then=shown_or(show))
def sweep(
    sampler: Samplers = None,
    typed: Typed = None,
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
    dry_run: options.DryRun = False,
    verbose: options.Verbose = False,
    **shared: Any,
) -> None:
    """Samplers with varied parameters: score and cost of each, and the Pareto front.

    Every point is an ordinary run: what a benchmark has made is used again, and the other way
    round. Steps and guidance that are not given are the benchmark's.
    """


def _show_choice(tuned: Tuned, verbose: bool = False) -> None:
    show(tuned, verbose)
    for side, sampler in (("candidate", tuned.candidate), ("baseline", tuned.baseline)):
        typer.echo(f"{side}, best of {tuned.trials} on the dev split: {sampler}")


@app.command(
    epilog="Example: [bold]harness tune 'zigzag(steps=20)' --baseline ddim --vary "
    "guidance=1,2,4,6,8[/bold]"
)
@with_options(OF_TUNING, options.SHARED)
@skin("tune", needed(single), then=shown_or(_show_choice))
def tune(
    vary: Annotated[list[str], typer.Option(help="PARAMETER=VALUE,VALUE,..., for both sides.")],
    sampler: Sampler = None,
    typed: Typed = None,
    baseline_vary: Annotated[
        list[str] | None,
        typer.Option(help="Instead for the baseline: as many combinations of other parameters."),
    ] = None,
    dry_run: options.DryRun = False,
    verbose: options.Verbose = False,
    **shared: Any,
) -> None:
    """Both sides at their best: tuned alike on the dev prompts, compared on the test prompts.

    The first metric chooses. Each side gets the same number of trials; --limit is for each split.
    """


@app.command(
    epilog="Example: [bold]harness ablate 'zigzag(steps=20)' --change inversion_guidance=1 "
    "--change rounds=2 --change 'zigzag_steps=5, rounds=3'[/bold]"
)
@with_options(OF_ABLATION, options.SHARED)
@skin("ablate", needed(single), then=shown_or(show))
def ablate(
    change: Annotated[
        list[str],
        typer.Option(help="PARAMETER=VALUE; a row each, of one or more parameters; repeated."),
    ],
    sampler: Sampler = None,
    typed: Typed = None,
    dry_run: options.DryRun = False,
    verbose: options.Verbose = False,
    **shared: Any,
) -> None:
    """What does each part of a sampler do? Each change against the sampler as it is.

    Pairs are of the same prompt and noise; a change that costs more also meets the unchanged
    sampler at its cost, and at its guidance.
    """
