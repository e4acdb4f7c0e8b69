"""`harness evaluate`, `compare` and `report`: from finished runs to numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import app, options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from harness.evaluate import EvaluationReport
    from harness.store.comparison import Comparison
    from harness.store.survey import Survey

Metrics = Annotated[str, typer.Option(help="Comma-separated; see 'harness list metrics'.")]


@app.command(
    epilog="Example: [bold]harness evaluate results/shapes/shapes/ddim-1a2b3c4d --metrics "
    "shapes-alignment,shapes-fd[/bold]"
)
def evaluate(
    run: Annotated[list[str], typer.Argument(help="Run folders.")],
    metrics: Metrics,
    device: options.Device = None,
    threads: options.Threads = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 64,
) -> None:
    """Score the images of runs: what is missing, on one process or under torchrun."""
    from harness import evaluate as evaluation
    from harness.launch import Ranks, pick_device
    from harness.progress import Progress
    from harness.spec import split_list
    from harness.store.run import Run

    ranks = Ranks.from_environment()
    where = pick_device(device, ranks.local_rank)
    names = split_list(metrics)
    for opened in [Run.open(path) for path in run]:
        shards = opened.shards()
        images = sum(opened.read("images", name, ["item_id"]).num_rows for name in shards)
        with Progress(ranks, f"evaluate {opened.spec.run_id}", images) as progress:
            evaluation.evaluate(
                opened,
                names,
                device=where,
                batch_size=batch_size,
                threads=threads,
                progress=progress.add,
                shards=ranks.share(shards),
            )
        if ranks.rank == 0:
            _say(evaluation.evaluate(opened, names, device=where, threads=threads), opened.path)


def _say(report: EvaluationReport, path: str) -> None:
    typer.echo(path)
    for outcome in report.outcomes.values():
        typer.echo(f"  {outcome}")
    for problem in report.missing.values():
        typer.echo(f"  left out: {problem}", err=True)


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
) -> None:
    """Winning rates of one run over others, on the scores that `harness evaluate` stored."""
    from harness.bench import compare_runs
    from harness.metrics.base import make_metrics
    from harness.spec import split_list
    from harness.store.run import Run

    opened = [Run.open(path) for path in baseline]
    ids = [run.spec.run_id for run in opened]
    names = ids if len(set(ids)) == len(ids) else [run.path for run in opened]
    baselines = dict(zip(names, opened, strict=True))
    made = make_metrics(split_list(metrics))
    folder = out or candidate
    show(compare_runs(Run.open(candidate), baselines, made, folder), folder)


@app.command(epilog="Example: [bold]harness report results/shapes/shapes/zigzag-1a2b3c4d[/bold]")
def report(
    folder: Annotated[str, typer.Argument(help="A folder that holds compare/ or survey.json.")],
) -> None:
    """Write the report of a stored comparison again and print its tables."""
    from harness.store.comparison import load_comparison
    from harness.store.survey import holds_survey, load_survey

    if holds_survey(folder):
        show_survey(load_survey(folder), folder)
    else:
        show(load_comparison(folder), folder)


def show(comparison: Comparison, folder: str) -> None:
    """Write a comparison's report and print its tables."""
    from harness.report import console_tables, write_report

    page = write_report(comparison, folder)
    _print(console_tables(comparison), page)


def show_survey(survey: Survey, folder: str) -> None:
    """Write the report of several samplers and print its tables."""
    from harness.report.survey import survey_tables, write_survey

    page = write_survey(survey, folder)
    _print(survey_tables(survey), page)


def _print(tables: Iterable[RenderableType], page: str) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for table in tables:
        console.print(table)
    console.print(f"report: {page}", markup=False, soft_wrap=True)
