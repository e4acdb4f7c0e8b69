"""`harness tune`."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import app, options
from harness.cli.judging import show


@app.command(
    epilog="Example: [bold]harness tune 'zigzag(steps=20)' --baseline ddim --vary "
    "guidance=1,2,4,6,8[/bold]"
)
def tune(
    sampler: Annotated[str, typer.Argument(help=options.SAMPLER_HELP)],
    vary: Annotated[list[str], typer.Option(help="PARAMETER=VALUE,VALUE,..., for both sides.")],
    baseline_vary: Annotated[
        list[str] | None,
        typer.Option(help="Instead for the baseline: as many combinations of other parameters."),
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="What to beat; default: ddim.")] = None,
    model: options.BenchModel = None,
    benchmark: options.Bench = None,
    guide: options.Guide = None,
    seeds: options.BenchSeeds = None,
    tiny: options.Tiny = False,
    prompts: options.BenchPrompts = None,
    metrics: options.BenchMetrics = None,
    limit: options.Limit = None,
    column: options.Column = None,
    prompts_folder: options.PromptsFolder = None,
    match: options.Match = "macs",
    match_guidance: options.MatchGuidance = "constant",
    curve: options.Curve = "auto",
    results: options.Results = "results",
    size: options.Size = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    threads: options.Threads = 1,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
) -> None:
    """Both sides at their best: tuned alike on the dev prompts, compared on the test prompts.

    The first metric chooses. Each side gets the same number of trials; --limit is for each split.
    """
    from harness.cli.orders import make_order, notes
    from harness.experiments.tuning import run_tuning
    from harness.experiments.varying import parse_vary

    order = make_order(
        benchmark,
        model,
        tiny,
        sampler=sampler,
        baseline=baseline,
        guide=guide,
        seeds=seeds,
        prompts=prompts,
        metrics=metrics,
        split=None,
        limit=limit,
        column=column,
        prompts_folder=prompts_folder,
        results=results,
        size=size,
        dtype=dtype,
        device=device,
        threads=threads,
        batch_size=batch_size,
        workers=workers,
        match=match,
        match_guidance=match_guidance,
        curve=curve,
    )
    other = None if baseline_vary is None else parse_vary(baseline_vary)
    tuned = run_tuning(order, parse_vary(vary), other, notes())
    show(tuned.comparison, tuned.folder)
    for side, row in (("candidate", tuned.candidate), ("baseline", tuned.baseline)):
        typer.echo(f"{side}, best of {tuned.trials} on the dev split: {row.sampler}")
