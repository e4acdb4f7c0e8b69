"""`harness export`: a run's pictures for other programs, a run for the hub."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import app
from harness.cli.skin import say, skin


@app.command(
    epilog="Examples: [bold]harness export RUN --format zip --out pictures.zip[/bold], then "
    "[bold]fid.py calc --images=pictures.zip[/bold]; [bold]harness export RUN --format hf --out "
    "hf://datasets/USER/NAME[/bold]"
)
@skin("export", say=say)
def export(
    run: Annotated[str, typer.Argument(help="A run's folder or URL.")],
    out: Annotated[str, typer.Option(help="A new folder, file or URL.")],
    format: Annotated[
        str,
        typer.Option(
            help="folder or zip (as EDM's fid.py reads them), webdataset (tars), or hf (the run "
            "itself, for datasets and the hub)."
        ),
    ] = "folder",
) -> None:
    """Write a run's pictures for other programs; harness evaluate reads them, too."""
