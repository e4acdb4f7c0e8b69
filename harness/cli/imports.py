"""`harness import`."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import app, options
from harness.cli.skin import say, skin


@app.command(
    name="import",
    epilog="Example: [bold]harness import my_images/ --manifest table.csv --name mysampler[/bold], "
    "then [bold]harness evaluate[/bold] and [bold]harness compare[/bold] as with any run.",
)
@skin("import_images", say=say)
def import_(
    source: Annotated[str, typer.Argument(help="Images: a folder, a .zip or .parquet.")],
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
