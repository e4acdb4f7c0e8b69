"""`harness sweep`."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import app, options
from harness.cli.judging import show


@app.command(
    epilog="Examples: [bold]harness sweep ddim heun --vary steps=5,10,20,40[/bold], [bold]harness "
    "sweep ddim --vary 'interval\\[0]=0.1,0.3,1' --vary 'interval\\[1]=2,5,15'[/bold]"
)
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
    model: options.BenchModel = None,
    benchmark: options.Bench = None,
    guide: options.Guide = None,
    seeds: options.BenchSeeds = None,
    tiny: options.Tiny = False,
    prompts: options.BenchPrompts = None,
    metrics: options.BenchMetrics = None,
    split: options.Split = None,
    limit: options.Limit = None,
    column: options.Column = None,
    prompts_folder: options.PromptsFolder = None,
    results: options.Results = "results",
    size: options.Size = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    threads: options.Threads = 1,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
) -> None:
    """Samplers with varied parameters: score and cost of each, and the Pareto front.

    Every point is an ordinary run: what a benchmark has made is used again, and the other way
    round. Steps and guidance that are not given are the benchmark's.
    """
    from harness.cli.orders import make_order, notes
    from harness.experiments.sweep import read_list, run_sweep
    from harness.experiments.varying import parse_vary

    samplers = [*(sampler or []), *(read_list(list_) if list_ else [])]
    varied = parse_vary(vary or [])
    order = make_order(
        benchmark,
        model,
        tiny,
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
        match=cost,
    )
    show(*run_sweep(order, samplers, varied, notes()))
