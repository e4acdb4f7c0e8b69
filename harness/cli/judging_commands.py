"""`harness evaluate`, `compare`, `report` and `power`: from finished runs to numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import app
from harness.cli import option_types as options
from harness.cli.skin import note, say, skin

if TYPE_CHECKING:
    from harness.face.answers import Answer

Metrics = Annotated[str, typer.Option(help="Comma-separated; see 'harness list metrics'.")]


def show(found: Answer[Any], verbose: bool = False) -> None:
    """Write the report of a comparison and print its result."""
    found.report(note)
    show_tables(found, verbose)


def show_tables(found: Answer[Any], verbose: bool = False) -> None:
    """Print the result, as wide as the terminal allows, and the report's path."""
    from rich.console import Console

    console = Console(highlight=False)
    for table in found.terminal(verbose):
        console.print(table)
    console.print(f"report: {found.page}", markup=False, soft_wrap=True)


@app.command(
    epilog="Examples: [bold]harness evaluate results/shapes/shapes/ddim-1a2b3c4d --metrics "
    "shapes-alignment,shapes-fd[/bold], [bold]harness evaluate my_images.zip --metrics clip "
    "--prompts prompts.csv[/bold]"
)
@skin("evaluate", say=say, note=note)
def evaluate(
    run: Annotated[
        list[str],
        typer.Argument(
            help="Run folders, or images of anybody: a folder, .zip, .tar, .npz or .parquet."
        ),
    ],
    metrics: Metrics,
    prompts: options.ImagePrompts = None,
    column: options.Column = None,
    image_column: options.ImageColumn = None,
    out: Annotated[
        str | None, typer.Option(help="Folder for what is found of images that are no run.")
    ] = None,
    results: Annotated[
        str, typer.Option(help="Without --out: images that are no run go below imported/ in it.")
    ] = "results",
    device: options.Device = None,
    threads: options.Threads = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 64,
    seed_ranges: Annotated[
        str | None,
        typer.Option(
            help="Three or more, as '0-49;50-99;100-149': set metrics over each, with mean and "
            "minimum."
        ),
    ] = None,
    track: options.Track = None,
    log_folder: options.LogFolder = None,
) -> None:
    """Score the images of runs: what is missing, on one process or under torchrun.

    Images that are no run are scored where they are. Prompts come from a table with the columns
    file,prompt,seed; else from metadata.csv, .jsonl or .parquet beside them, or a column of their
    Parquet; a list of prompts goes to files in their order (2.png before 10.png), one each.
    """


@app.command(
    epilog="Example: [bold]harness compare results/shapes/shapes/zigzag-* "
    "results/shapes/shapes/ddim-* --metrics shapes-alignment[/bold]"
)
@skin("compare", then=show, note=note)
def compare(
    candidate: Annotated[str, typer.Argument(help="The run folder of the candidate.")],
    baseline: Annotated[list[str], typer.Argument(help="Run folders to compare it with.")],
    metrics: Annotated[
        str | None,
        typer.Option(help="Comma-separated; default: all that every run has been scored on."),
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Folder for compare/ and report/; default: the candidate's.")
    ] = None,
    fair: Annotated[
        bool,
        typer.Option(
            "--fair", help="Also make and compare the baseline at equal cost and equal guidance."
        ),
    ] = False,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Each run against each other one, and a ranking.")
    ] = False,
    match: options.Match = "macs",
    match_guidance: options.MatchGuidance = "constant",
    curve: options.Curve = "auto",
    device: options.Device = None,
    threads: options.Threads = 1,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    best_of: Annotated[
        str | None,
        typer.Option(
            help="A cheaper run: also compare with the best of as many of its pictures as the "
            "candidate's cost pays for."
        ),
    ] = None,
    verifier: Annotated[
        str | None,
        typer.Option(
            help="With --best-of: the metric that keeps the best, of another network than the "
            "first of --metrics."
        ),
    ] = None,
    verbose: options.Verbose = False,
) -> None:
    """Winning rates of one run over others, on the scores that `harness evaluate` stored."""


@app.command(epilog="Example: [bold]harness report results/shapes/shapes/zigzag-1a2b3c4d[/bold]")
@skin("report", then=show_tables, say=say)
def report(
    folder: Annotated[str, typer.Argument(help="A folder that holds compare/ or survey.json.")],
    verbose: options.Verbose = False,
) -> None:
    """Write the report of a stored comparison again and print its tables.

    The stored tables are enough for all but the pictures, which are the runs'.
    """


@app.command(
    epilog="Examples: [bold]harness power --rate 0.55 --ties 0.1[/bold] or "
    "[bold]harness power --prompts 200[/bold]"
)
def power(
    rate: Annotated[
        float | None, typer.Option(help="The true winning rate that must show; default: 0.6.")
    ] = None,
    prompts: Annotated[
        int | None, typer.Option(min=2, help="Instead: what so many prompts can show.")
    ] = None,
    ties: Annotated[float, typer.Option(help="Share of tied pairs.")] = 0.0,
    prompt_share: Annotated[
        float,
        typer.Option(help="Share of the outcomes' variance that is the prompts' own, not noise."),
    ] = 0.2,
    alpha: Annotated[float, typer.Option(help="Two-sided level of the test.")] = 0.05,
) -> None:
    """How many prompts and seeds show a winning rate in 80 % of cases."""
    import pandas as pd
    from rich import box
    from rich.console import Console
    from rich.table import Table

    import harness

    found = harness.power(
        rate=rate, prompts=prompts, ties=ties, prompt_share=prompt_share, alpha=alpha
    )
    table = Table(box=box.SIMPLE_HEAD)
    names = ["seeds a prompt", "prompts", "pairs"]
    for name in names if prompts is None else [*names, "winning rate that shows"]:
        table.add_column(name, justify="right")
    for seeds, count, pairs, *shown in found.itertuples(index=False):
        rates = ["none" if pd.isna(rate) else f"{100 * rate:.1f} %" for rate in shown]
        table.add_row(f"{seeds}", f"{count:,}", f"{pairs:,}", *rates)
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"In 80 % of cases, at level {alpha:g}, with {100 * ties:g} % ties and "
        f"{100 * prompt_share:g} % of the variance between prompts; noise of each prompt its own.",
        soft_wrap=True,
    )
