"""`harness sample`."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import app, options
from harness.cli.skin import Given, say, skin


def _with_folder(given: Given) -> Given:
    """Pictures go to `samples/` where no folder is named, unless latents alone are asked for."""
    return given if "latents" in given else {"out": "samples", **given}


@app.command(
    epilog="Example: [bold]harness sample --prompt 'a red circle' --sampler 'zigzag(steps=20)' "
    "--seed 0-3[/bold]"
)
@skin("sample", _with_folder, say=say)
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
