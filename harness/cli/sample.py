"""`harness sample`."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import app, options


@app.command(
    epilog="Example: [bold]harness sample --prompt 'a red circle' --sampler 'zigzag(steps=20)' "
    "--seed 0-3[/bold]"
)
def sample(
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt; may be repeated.")] = None,
    class_: Annotated[
        list[int] | None,
        typer.Option("--class", help="A class, for such models; may be repeated; default: drawn."),
    ] = None,
    model: options.Model = "shapes",
    sampler: Annotated[str, typer.Option(help=options.SAMPLER_HELP)] = "ddim",
    guide: options.Guide = None,
    seed: Annotated[
        list[str] | None,
        typer.Option(help="0-3, or 0,2,5-8, may be repeated: every prompt with each; default: 0."),
    ] = None,
    negative: Annotated[
        list[str] | None,
        typer.Option(help='Negative prompt, one for all or one each; absent and "" differ.'),
    ] = None,
    objects: Annotated[
        list[str] | None,
        typer.Option(help='What asyndm holds back, "cat, hat": one for all prompts or one each.'),
    ] = None,
    size: options.Size = None,
    out: Annotated[str | None, typer.Option(help="Folder for the pictures.")] = None,
    noise: Annotated[
        str | None, typer.Option(help="Replay recorded noise: .npz with 'noise' and 'draws'.")
    ] = None,
    latents: Annotated[
        str | None, typer.Option(help="Write final latents and evaluation counts to this .npz.")
    ] = None,
    noise_key: Annotated[
        str | None,
        typer.Option(help="What noise depends on beside the seed: seed (nothing), prompt, index."),
    ] = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    threads: options.Threads = 1,
    batch_size: options.BatchSize = None,
) -> None:
    """Draw pictures for prompts, or replay recorded noise exactly."""
    from rich.console import Console

    from harness.core.errors import HarnessError
    from harness.core.run_spec import parse_size
    from harness.core.shards import parse_seeds
    from harness.runs import single as sampling
    from harness.runs.folder import Settings
    from harness.runs.plan import plan
    from harness.runs.workers import pick_device
    from harness.samplers.base import SAMPLERS

    if noise and (seed or noise_key):
        raise HarnessError("--noise replays recorded noise: it goes without --seed and --noise-key")
    sampling.check_outputs(out, latents)
    where = pick_device(device)
    job = plan(
        model,
        sampler,
        size=parse_size(size) if size else None,
        dtype=dtype,
        device=where,
        noise_key=noise_key or "seed",
        guide=guide,
    )
    if out or not latents:
        job.entry.decodable(job.model.params)
    job.entry.revision()
    prompts = sampling.prompts_of(job.entry, prompt or [], class_ or [])
    recorded = sampling.read_noise(noise) if noise else None
    rows = None if recorded is None else len(recorded[0])
    if objects and "objects" not in SAMPLERS.get(job.spec.sampler.name).own:
        raise HarnessError(f"--objects is for asyndm; sampler {job.spec.sampler.name} has none")
    chosen = parse_seeds(",".join(seed or ["0"]))
    request = sampling.expand(prompts, negative or [], chosen, rows, objects or [])
    settings = Settings(where, threads, batch_size)
    loaded, batch = sampling.draw(job, request, settings, recorded)
    console = Console(highlight=False)
    cost = ", ".join(
        f"{counts[0]} {branch if network == 'main' else network}"
        for (network, branch), counts in batch.evaluations.items()
        if counts[0]
    )
    console.print(f"{job.spec.sampler}: {job.nfe} evaluations an image ({cost})", markup=False)
    if latents:
        sampling.save_latents(latents, batch)
        console.print(f"latents: {latents}", markup=False)
    if out or not latents:
        pictures = loaded.decode(batch.native)
        for path in sampling.save_pictures(out or "samples", pictures, request.seeds):
            console.print(str(path), markup=False)
