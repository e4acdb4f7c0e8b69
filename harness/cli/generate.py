"""`harness generate`."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import app, options


@app.command(
    epilog="Examples: [bold]harness generate --model shapes --sampler ddim --seeds 0-3[/bold] or "
    "[bold]torchrun --nproc-per-node=8 -m harness generate --model sdxl --sampler "
    "'zigzag(steps=50)' --prompts drawbench[/bold]"
)
def generate(
    sampler: options.Samplers,
    model: options.Model = "shapes",
    guide: options.Guide = None,
    prompts: options.Prompts = None,
    seeds: options.Seeds = "0",
    split: options.Split = None,
    limit: options.Limit = None,
    column: options.Column = None,
    prompts_folder: options.PromptsFolder = None,
    results: Annotated[
        str | None,
        typer.Option(
            help="Folder for the runs, <model>/<sampler>-<hash>; default: results/<prompt set>."
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="The run's own folder, instead (one sampler only).")
    ] = None,
    size: options.Size = None,
    dtype: options.Dtype = None,
    noise_key: options.NoiseKey = None,
    negative: options.Negative = None,
    device: options.Device = None,
    threads: options.Threads = 1,
    batch_size: options.BatchSize = None,
    shard: options.Part = None,
) -> None:
    """Make a run's images: what is missing of them, on one process or under torchrun."""
    from harness.core.errors import HarnessError
    from harness.core.run_spec import parse_size
    from harness.core.shards import parse_seeds, plan_shards
    from harness.prompts.base import load_prompts
    from harness.prompts.split import with_split
    from harness.runs.folder import Settings, missing, open_run
    from harness.runs.make import generate
    from harness.runs.plan import check_prompts, plan
    from harness.runs.progress import Progress
    from harness.runs.workers import Ranks, parse_part, pick_device

    chosen = parse_seeds(seeds)
    part = parse_part(shard) if shard else (0, 1)
    if out and len(sampler) > 1:
        raise HarnessError("--out is one run's folder: give one --sampler, or --results")
    ranks = Ranks.from_environment()
    where = pick_device(device, ranks.local_rank)
    jobs = [
        plan(
            model,
            text,
            size=parse_size(size) if size else None,
            dtype=dtype,
            device=where,
            noise_key=noise_key,
            negative=negative,
            guide=guide,
        )
        for text in dict.fromkeys(sampler)
    ]
    chosen_prompts = prompts or ("shapes" if jobs[0].entry.classes is None else "unprompted")
    chosen_prompts = with_split(chosen_prompts, split) if split else chosen_prompts
    found = load_prompts(chosen_prompts, limit=limit, column=column, folder=prompts_folder)
    try:
        check_prompts(jobs[0].entry, found.prompts)
    except HarnessError as error:
        hint = f"; {found.name} is the default, name a set or a file with --prompts"
        raise HarnessError(f"{error}{'' if prompts else hint}") from None
    settings = Settings(where, threads, batch_size)
    root = results or f"results/{found.name}"
    runs = [open_run(job, out or f"{root}/{job.folder}", settings) for job in jobs]
    shards = plan_shards(list(found.prompts), chosen)[part[0] :: part[1]]
    work = [(job, run, s) for s in shards for job, run in zip(jobs, runs, strict=True)]
    total = sum(len(s.prompts) for run in runs for s in missing(run, shards))
    with Progress(ranks, "generate", total) as progress:
        generate(ranks.share(work), settings, progress.add, ranks.first)
    if ranks.rank == 0:
        for run in runs:
            run.update_card()
            left = len(missing(run, shards))
            typer.echo(f"{run.path}: {len(shards) - left} of {len(shards)} shards complete")
