"""`harness generate`."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import app, options
from harness.cli.skin import say, skin


@app.command(
    epilog="Examples: [bold]harness generate --model shapes --sampler ddim --seeds 0-3[/bold] or "
    "[bold]torchrun --nproc-per-node=8 -m harness generate --model sdxl --sampler "
    "'zigzag(steps=50)' --prompts drawbench[/bold]"
)
@skin("generate", say=say)
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
