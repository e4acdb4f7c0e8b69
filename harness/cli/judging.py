"""`harness evaluate`, `compare` and `report`: from finished runs to numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import app, options
from harness.cli.skin import note, say, skin

if TYPE_CHECKING:
    from rich.console import RenderableType

    from harness.store.comparison_tables import Comparison
    from harness.store.matrix_table import Matrix
    from harness.store.run import Run
    from harness.store.survey_table import Survey
    from harness.store.votes import Votes

Metrics = Annotated[str, typer.Option(help="Comma-separated; see 'harness list metrics'.")]


@app.command(
    epilog="Examples: [bold]harness evaluate results/shapes/shapes/ddim-1a2b3c4d --metrics "
    "shapes-alignment,shapes-fd[/bold], [bold]harness evaluate my_images.zip --metrics clip "
    "--prompts prompts.csv[/bold]"
)
@skin("evaluate", say=say, note=note)
def evaluate(
    run: Annotated[
        list[str],
        typer.Argument(help="Run folders, or images of anybody: a folder, a .zip or .parquet."),
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
            help="Three or more, as '0-49999;50000-99999;100000-149999': set metrics over each, "
            "with mean and minimum."
        ),
    ] = None,
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
def compare(
    candidate: Annotated[str, typer.Argument(help="The run folder of the candidate.")],
    baseline: Annotated[list[str], typer.Argument(help="Run folders to compare it with.")],
    metrics: Metrics,
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
) -> None:
    """Winning rates of one run over others, on the scores that `harness evaluate` stored."""
    from harness.core.call import split_list
    from harness.core.errors import HarnessError
    from harness.experiments.bench import compare_fairly
    from harness.experiments.scoring import compare_everybody, compare_runs
    from harness.metrics.base import make_metrics
    from harness.store.run import Run

    opened = [Run.open(path) for path in baseline]
    names, folder = split_list(metrics), out or candidate
    if "human" in names and (fair or matrix):
        raise HarnessError(
            "votes are on two runs: compare them with the metric human without --fair and --matrix"
        )
    if fair:
        if matrix:
            raise HarnessError(
                "--fair compares two runs, --matrix all of them: give one of the two"
            )
        if len(opened) > 1:
            raise HarnessError(f"--fair is for one baseline, not {len(opened)}: compare each alone")
        made = compare_fairly(
            Run.open(candidate),
            opened[0],
            metrics=names,
            out=folder,
            match=match,
            match_guidance=match_guidance,
            curve=curve,
            device=device,
            threads=threads,
            batch_size=batch_size,
            workers=workers,
        )
        show(made, folder)
        return
    asked = (match, match_guidance, curve, device, threads, batch_size, workers)
    if asked != ("macs", "constant", "auto", None, 1, None, None):
        raise HarnessError(
            "--match, --match-guidance, --curve, --device, --threads, --batch-size and --workers "
            "go with --fair"
        )
    if matrix:
        everybody = _named([Run.open(candidate), *opened])
        show(compare_everybody(everybody, make_metrics(names), folder), folder)
        return
    run, votes = Run.open(candidate), None
    if "human" in names:
        votes = _votes(folder, run, opened)
        names.remove("human")
    made = compare_runs(run, _named(opened), make_metrics(names), folder, votes=votes)
    show(made, folder)


def _votes(folder: str, candidate: Run, baselines: list[Run]) -> Votes:
    """People's votes on two runs; HarnessError where there are none."""
    from harness.comparison.human_votes import preferences
    from harness.core.errors import HarnessError

    if len(baselines) > 1:
        raise HarnessError("votes are on two runs: name one baseline with the metric human")
    votes = preferences(folder, candidate.spec.run_id, baselines[0].spec.run_id)
    if not votes:
        raise HarnessError(
            f"{folder}/votes holds no vote on these two runs: first harness arena "
            f"{candidate.path} {baselines[0].path}"
        )
    return votes


def _named(runs: list[Run]) -> dict[str, Run]:
    """By their ids, or by their paths where ids repeat."""
    ids = [run.spec.run_id for run in runs]
    names = ids if len(set(ids)) == len(ids) else [run.path for run in runs]
    return dict(zip(names, runs, strict=True))


@app.command(epilog="Example: [bold]harness report results/shapes/shapes/zigzag-1a2b3c4d[/bold]")
def report(
    folder: Annotated[str, typer.Argument(help="A folder that holds compare/ or survey.json.")],
) -> None:
    """Write the report of a stored comparison again and print its tables.

    The stored tables are enough for all but the pictures, which are the runs'.
    """
    from harness.reporting.viewer import absence
    from harness.store.comparison_tables import load_comparison
    from harness.store.survey_table import holds_survey, load_survey

    if holds_survey(folder):
        show(load_survey(folder), folder)
        return
    comparison = load_comparison(folder)
    show(comparison, folder)
    if said := absence(comparison):
        typer.echo(said)


def show(found: Comparison | Survey | Matrix, folder: str) -> None:
    """Write the report of what was compared and print its tables."""
    from harness.reporting import console_tables, write_report

    page = write_report(found, folder)
    _print(console_tables(found, folder), page)


def _print(tables: Iterable[RenderableType], page: str) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for table in tables:
        console.print(table)
    console.print(f"report: {page}", markup=False, soft_wrap=True)
