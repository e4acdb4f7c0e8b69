"""`harness bench`."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import app, options
from harness.cli.tables import show, show_survey


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
    model: Annotated[
        str | None, typer.Option(help="Registry name, hub id or diffusers folder.")
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option("--bench", help="Benchmark by name, or a YAML file.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="What to beat; default: ddim.")] = None,
    guide: options.Guide = None,
    seeds: Annotated[str | None, typer.Option(help="0-3, or 0,2,5-8.")] = None,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="The benchmark's small cut, for any machine.")
    ] = False,
    prompts: Annotated[
        str | None, typer.Option(help="Another prompt set or file than the benchmark's.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Comma-separated; the first is the headline.")
    ] = None,
    split: options.Split = None,
    limit: options.Limit = None,
    column: options.Column = None,
    prompts_folder: options.PromptsFolder = None,
    match: options.Match = "macs",
    match_guidance: options.MatchGuidance = "constant",
    curve: options.Curve = "auto",
    results: Annotated[str, typer.Option(help="Root of the results.")] = "results",
    size: options.Size = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    threads: options.Threads = 1,
    batch_size: options.BatchSize = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; default: one a GPU, else one a core.")
    ] = None,
) -> None:
    """Does a sampler beat the baseline? Generate, evaluate, compare, report: what is missing."""
    from rich.console import Console

    from harness import benchmark as benchmarks
    from harness.bench import Order, run_bench
    from harness.generate import Settings
    from harness.launch import default_workers, pick_device
    from harness.prompts.split import with_split
    from harness.spec import parse_size, split_list
    from harness.survey import run_survey

    name = benchmark or benchmarks.for_model(model or "shapes").name
    found = benchmarks.load(name, tiny)
    where = pick_device(device)
    order = Order(
        benchmark=found,
        model=model or found.model,
        sampler=sampler or found.candidate or found.candidates[0].sampler,
        baseline=baseline or found.baseline,
        guide=guide or found.guide,
        seeds=seeds or found.seeds,
        prompts=with_split(prompts or found.prompts, split) if split else prompts or found.prompts,
        limit=limit if limit or prompts else found.limit,
        metrics=split_list(metrics) if metrics else found.metrics,
        dtype=dtype,
        size=parse_size(size) if size else None,
        prompts_folder=prompts_folder,
        column=column,
        results=results,
        device=device,
        settings=Settings(where, threads, batch_size),
        workers=workers or default_workers(device),
        match=match,
        match_guidance=match_guidance,
        curve=options.weights(curve),
    )
    notes = Console(stderr=True, highlight=False)
    if found.candidates and sampler is None:
        show_survey(*run_survey(order, lambda text: notes.print(text, markup=False)))
    else:
        show(*run_bench(order, lambda text: notes.print(text, markup=False)))
