"""`harness guidance`: a sampler's nominal and realised guidance scale, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import app
from harness.cli import option_types as options
from harness.cli.sampler_argument import Sampler, Typed, needed, single

if TYPE_CHECKING:
    from torch import Tensor


@app.command(
    epilog="Example: [bold]harness guidance 'zigzag(steps=10)' --prompt 'a red circle' "
    "--seed 0-7[/bold]"
)
def guidance(
    sampler: Sampler = None,
    typed: Typed = None,
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

    from harness.experiments.inputs import seeds_of, size_of
    from harness.runs import single as sampling
    from harness.runs.devices import pick_device
    from harness.runs.folder import Settings, batch_size_of
    from harness.runs.plan import plan
    from harness.runs.realised import realised_guidance

    where = pick_device(device)
    asked = needed(single)({"sampler": sampler, "typed": typed})["sampler"]
    job = plan(model, asked, size=size_of(size or None), dtype=dtype, device=where)
    job.entry.revision()
    prompts = sampling.prompts_of(job.entry, prompt or [], [])
    request = sampling.expand(prompts, [], seeds_of(seed or "0"), None, [])
    sampling.check_noise(job.spec.noise_key, request)
    found = realised_guidance(job, request, Settings(where, threads, batch_size_of(batch_size)))
    n = len(request.prompts)
    table = Table(
        title=f"{job.spec.sampler}, {n} picture{'s' if n > 1 else ''}", title_justify="left"
    )
    columns = ["sigma", "nominal scale", "realised scale", "least", "most", "unexplained"]
    for column in columns + ([] if found.ga_eval is None else ["ga_eval"]):
        table.add_column(column, justify="right")
    for at, (sigma, nominal, realised, rest) in enumerate(
        zip(found.sigma, found.nominal, found.realised, found.unexplained, strict=True)
    ):
        held = realised[realised.isfinite()]
        cells = ["-"] * 4
        if len(held):
            cells = [f"{float(v):.3f}" for v in (held.mean(), held.min(), held.max())]
            cells.append(f"{100 * float(rest[realised.isfinite()].mean()):.1f} %")
        if found.ga_eval is not None:
            published = found.ga_eval[at].nanmean()
            cells.append("-" if published.isnan() else f"{float(published):.3f}")
        table.add_row(f"{float(sigma):.4g}", f"{float(nominal.mean()):.4g}", *cells)
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "Means over the pictures, with the least and the most of them. Unexplained: the share of "
        "what a step does beside the unconditional prediction that no weight of c - u explains. "
        + _published(found.ga_eval_mean),
        style="dim",
    )


def _published(mean: Tensor | None) -> str:
    """The estimate of "Guidance Matters" in a sentence."""
    if mean is None:
        return "ga_eval: none, it is for zigzag and w2sd, which alter their steps."
    spread = f", {float(mean.min()):.3f} to {float(mean.max()):.3f}" if len(mean) > 1 else ""
    return (
        "ga_eval: as Xie et al. 2026 (arXiv:2602.22570) estimate it, at the steps that are "
        f"altered; of a picture it is {float(mean.nanmean()):.3f}{spread}. It keeps the "
        "unconditional prediction in, so it is no weight of guidance."
    )
