"""`harness ablate`."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import app, options
from harness.cli.judging import show


@app.command(
    epilog="Example: [bold]harness ablate 'zigzag(steps=20)' --change inversion_guidance=1 "
    "--change rounds=2 --change 'zigzag_steps=5, rounds=3'[/bold]"
)
def ablate(
    sampler: Annotated[str, typer.Argument(help=options.SAMPLER_HELP)],
    change: Annotated[
        list[str],
        typer.Option(help="PARAMETER=VALUE; a row each, of one or more parameters; repeated."),
    ],
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
    match: options.Match = "macs",
    results: options.Results = "results",
    size: options.Size = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    threads: options.Threads = 1,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
) -> None:
    """What does each part of a sampler do? Each change against the sampler as it is.

    Pairs are of the same prompt and noise; a change that costs more also meets the unchanged
    sampler at its cost, and at its guidance.
    """
    from harness.cli.orders import make_order, notes
    from harness.experiments.ablation import run_ablation

    order = make_order(
        benchmark,
        model,
        tiny,
        sampler=sampler,
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
    )
    show(*run_ablation(order, change, notes()))
