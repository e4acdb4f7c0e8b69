"""`harness refs`: reference statistics that set metrics measure against."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import app
from harness.cli import option_types as options

refs = typer.Typer(help="Reference statistics of FID and its like.", no_args_is_help=True)
app.add_typer(refs, name="refs")


@refs.callback()
def _group() -> None:
    """Reference statistics of FID and its like."""


@refs.command(
    epilog="Example: [bold]harness refs build coco/val2017 --metrics fid,kid --name coco[/bold], "
    "then [bold]harness evaluate RUN --metrics 'fid(reference=coco)'[/bold]"
)
def build(
    data: Annotated[
        str, typer.Argument(help="Images: folder, .zip, .tar, .npz, .parquet or folder of it.")
    ],
    name: Annotated[str, typer.Option(help="What to call it: fid(reference=NAME).")],
    metrics: Annotated[
        str, typer.Option(help="Comma-separated: the metrics it is for, as fid,fd-dinov2,kid.")
    ] = "",
    encoder: Annotated[
        list[str] | None, typer.Option(help="An encoder by name; may be repeated.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder; default: in the cache, found by name.")
    ] = None,
    column: options.Column = None,
    features: Annotated[
        int, typer.Option(min=1, help="At most so many images' features, where a metric needs any.")
    ] = 50_000,
    device: options.Device = None,
    threads: options.Threads = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 64,
) -> None:
    """Reference statistics of your own images, as .npz: mean, covariance, number, encoder."""
    import re

    import torch

    from harness.core.call import split_list
    from harness.core.errors import HarnessError
    from harness.evaluation.reference_building import build_references, encoders_of
    from harness.metrics.encoders import Encoder
    from harness.metrics.references import built_folder, built_path
    from harness.runs.devices import pick_device
    from harness.runs.progress import Progress
    from harness.runs.ranks import Ranks
    from harness.store.collections import open_images

    if not re.fullmatch(r"[\w-]+", name):
        raise HarnessError(f"--name {name!r}: use letters, digits, - and _")
    wanted = encoders_of(split_list(metrics), encoder or [])
    images = open_images(data, column)
    folder = out or built_folder()

    def target(one: Encoder) -> str:
        return str(built_path(folder, name, one))

    torch.set_num_threads(threads)
    ranks = Ranks()
    with Progress(ranks, f"reference {name}", len(images)) as bar:
        counts = build_references(
            images,
            wanted,
            target,
            device=pick_device(device),
            batch_size=batch_size,
            most_features=features,
            progress=bar.add,
        )
    for one, count in zip(wanted, counts, strict=True):
        typer.echo(f"{target(one.encoder)}: {count} images by {one.encoder.convention}")


@refs.command(name="list", epilog="Example: [bold]harness refs list[/bold]")
def list_() -> None:
    """Public references by name, and those built on this machine."""
    from harness.cli.information import print_table
    from harness.metrics.references import built, published

    rows = [
        (row.name, " and ".join(row.encoders), row.n or "-", row.data, row.source, row.url)
        for row in published().values()
    ]
    for name, paths in built().items():
        labels = " and ".join(path.name.split(".", 1)[1].removesuffix(".npz") for path in paths)
        rows.append((name, labels, "-", "built here", "-", str(paths[0].parent)))
    print_table(["name", "of", "images", "data", "source", "from"], rows, wide=("source", "from"))
