"""`harness guidance`: what guidance scale a sampler amounts to, step by step."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import app, options


@app.command(
    epilog="Example: [bold]harness guidance --prompt 'a red circle' --sampler "
    "'zigzag(steps=10)' --seed 0-7[/bold]"
)
def guidance(
    sampler: Annotated[str, typer.Option(help="NAME or NAME(parameter=value, ...).")],
    model: options.Model = "shapes",
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt; may be repeated.")] = None,
    seed: Annotated[list[str] | None, typer.Option(help="0-3, or 0,2,5-8; default: 0.")] = None,
    size: options.Size = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    threads: options.Threads = 1,
    batch_size: options.BatchSize = None,
) -> None:
    """A sampler's guidance scale by step: nominal, and as realised on some prompts."""
    from rich.console import Console
    from rich.table import Table

    from harness import sample as sampling
    from harness.generate import Settings, plan
    from harness.launch import pick_device
    from harness.realised import realised_guidance
    from harness.spec import parse_seeds, parse_size

    where = pick_device(device)
    job = plan(model, sampler, size=parse_size(size) if size else None, dtype=dtype, device=where)
    job.entry.revision()
    prompts = sampling.prompts_of(job.entry, prompt or [], [])
    request = sampling.expand(prompts, [], parse_seeds(",".join(seed or ["0"])), None, [])
    found = realised_guidance(job, request, Settings(where, threads, batch_size))
    n = len(request.prompts)
    table = Table(
        title=f"{job.spec.sampler}, {n} picture{'s' if n > 1 else ''}", title_justify="left"
    )
    for column in ("sigma", "nominal scale", "realised scale", "least", "most", "unexplained"):
        table.add_column(column, justify="right")
    for sigma, nominal, realised, rest in zip(
        found.sigma, found.nominal, found.realised, found.unexplained, strict=True
    ):
        held = realised[realised.isfinite()]
        cells = ["-"] * 4
        if len(held):
            cells = [f"{float(v):.3f}" for v in (held.mean(), held.min(), held.max())]
            cells.append(f"{100 * float(rest[realised.isfinite()].mean()):.1f} %")
        table.add_row(f"{float(sigma):.4g}", f"{float(nominal.mean()):.4g}", *cells)
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "Means over the pictures, with the least and the most of them. Unexplained: the share of "
        "what a step does beside the unconditional prediction that no weight of c - u explains.",
        style="dim",
    )
