"""`harness bench`."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import app, options
from harness.cli.judging import show


@app.command(
    epilog="Examples: [bold]harness bench zigzag[/bold] (embedded, on a CPU), "
    "[bold]harness bench 'zigzag(steps=50, guidance=5.5)' --model sdxl --bench pickapic "
    "--seeds 0-3 --workers 8[/bold]"
)
def bench(
    sampler: Annotated[
        str | None,
        typer.Argument(help=options.SAMPLER_HELP),
    ] = None,
    model: options.BenchModel = None,
    benchmark: options.Bench = None,
    baseline: Annotated[str | None, typer.Option(help="What to beat; default: ddim.")] = None,
    guide: options.Guide = None,
    seeds: options.BenchSeeds = None,
    tiny: options.Tiny = False,
    prompts: options.BenchPrompts = None,
    metrics: options.BenchMetrics = None,
    split: options.Split = None,
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
    """Does a sampler beat the baseline? Generate, evaluate, compare, report: what is missing."""
    from harness.cli.orders import make_order, notes
    from harness.experiments.bench import run_bench
    from harness.experiments.survey import run_survey

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
        split=split,
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
    if order.benchmark.candidates and sampler is None:
        show(*run_survey(order, notes()))
    else:
        show(*run_bench(order, notes()))
