"""`harness generate`, `sample` and `import`, and what their worker processes run."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from harness.cli import app
from harness.cli import option_types as options
from harness.cli.forecasts import shown_or
from harness.cli.sampler_argument import Sampler, Samplers, Typed, needed, several, single
from harness.cli.skin import Given, say, skin


@app.command(
    epilog="Examples: [bold]harness generate ddim --model shapes --seeds 0-3[/bold] or "
    "[bold]torchrun --nproc-per-node=8 -m harness generate 'zigzag(steps=50)' --model sdxl "
    "--prompts drawbench[/bold]"
)
@skin("generate", needed(several), then=shown_or(lambda made: None), say=say)
def generate(
    sampler: Samplers = None,
    typed: Typed = None,
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
    decode_dtype: options.DecodeDtype = None,
    noise_key: options.NoiseKey = None,
    negative: options.Negative = None,
    device: options.Device = None,
    threads: options.Threads = 1,
    batch_size: options.BatchSize = None,
    tf32: options.Tf32 = False,
    compile: options.Compile = False,
    workers: options.Copies = None,
    shard: options.Part = None,
    track: options.Track = None,
    log_folder: options.LogFolder = None,
    claim: options.Claim = False,
    dry_run: options.DryRun = False,
) -> None:
    """Make a run's images: what is missing of them, on one process or under torchrun."""


def _with_folder(given: Given) -> Given:
    """Pictures go to `samples/` where no folder is named, unless latents alone are asked for."""
    given = single(given)
    return given if "latents" in given else {"out": "samples", **given}


@app.command(
    epilog="Example: [bold]harness sample 'zigzag(steps=20)' --prompt 'a red circle' "
    "--seed 0-3[/bold]"
)
@skin("sample", _with_folder, say=say)
def sample(
    sampler: Sampler = None,
    typed: Typed = None,
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt; may be repeated.")] = None,
    class_: Annotated[
        list[int] | None,
        typer.Option("--class", help="A class, for such models; may be repeated; default: drawn."),
    ] = None,
    model: options.Model = "shapes",
    guide: options.Guide = None,
    seed: Annotated[
        list[str] | None,
        typer.Option(
            help="0-3, or 9,2,5-8 in that order; repeatable: every prompt with each; default: 0."
        ),
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
        str | None,
        typer.Option(help="Write final latents, seeds and evaluation counts to this .npz."),
    ] = None,
    noise_key: Annotated[
        str | None,
        typer.Option(help="What noise depends on beside the seed: seed (nothing), prompt, index."),
    ] = None,
    dtype: options.Dtype = None,
    decode_dtype: options.DecodeDtype = None,
    device: options.Device = None,
    threads: options.Threads = 1,
    batch_size: options.BatchSize = None,
    tf32: options.Tf32 = False,
    compile: options.Compile = False,
) -> None:
    """Draw pictures for prompts (by default with ddim), or replay recorded noise exactly."""


@app.command(
    name="import",
    epilog="Example: [bold]harness import my_images/ --manifest table.csv --name mysampler[/bold], "
    "then [bold]harness evaluate[/bold] and [bold]harness compare[/bold] as with any run.",
)
@skin("import_images", say=say)
def import_(
    source: Annotated[str, typer.Argument(help="Images: a folder, .zip, .tar, .npz or .parquet.")],
    manifest: Annotated[
        str | None,
        typer.Option(help="Table with the columns file,prompt and, if known, seed, nfe, category."),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="Beside a manifest: the prompt set that its prompts are of. Without one: a table "
            "with the columns file,prompt,seed, or a prompt set or file in the images' order."
        ),
    ] = None,
    column: options.Column = None,
    image_column: options.ImageColumn = None,
    paired: Annotated[
        bool | None,
        typer.Option(
            "--paired/--unpaired",
            help="They start from the same noise as the other runs at the same prompt and seed; "
            "default: unpaired.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The run's name; default: the source's.")] = None,
    out: Annotated[str | None, typer.Option(help="The run's own folder.")] = None,
    results: Annotated[str, typer.Option(help="Without --out: below imported/ in it.")] = "results",
) -> None:
    """Make a run of anybody's images, which stay where they are; again when they have changed.

    Its prompts are those of the manifest. With --prompts as well, they are found by their text in
    that set, so that the run can be compared with runs of it. Unpaired images are compared with
    all images of their prompt.
    """


@app.command(hidden=True)
def make_shards(context: typer.Context, work: str, device: options.Device = None) -> None:
    """Make the shards that a file lists, shared with the other processes."""
    from harness.runs.ranks import Ranks
    from harness.runs.work import make_work, read_work

    ranks = Ranks.from_environment(device)
    listed, settings, made = read_work(work, ranks, context.obj)
    make_work(listed, settings, ranks, made=made)


@app.command(hidden=True)
def serve(folder: str) -> None:
    """Do the commands that another process leaves in a folder, until it ends."""
    from harness.runs.crew import commands
    from harness.runs.kept_model import Loaded

    loaded = Loaded()
    for words in commands(folder, int(os.environ.get("RANK", "0"))):
        if words[0] != "make-shards":
            loaded.drop()  # others may need the memory
        app(words, standalone_mode=False, obj=loaded)
