"""`harness models`: convert models' files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import app

models = typer.Typer(help="Convert models' files.", no_args_is_help=True)
app.add_typer(models, name="models")


@models.callback()
def _group() -> None:
    """Convert models' files."""


@models.command(
    epilog="Example: [bold]harness models convert edm2-img512-s-2147483-0.130.pkl --out nets[/bold]"
)
def convert(
    file: Annotated[Path, typer.Argument(help="A published .pkl or .pt.")],
    out: Annotated[Path | None, typer.Option(help="Folder; default: the file's own.")] = None,
    network: Annotated[
        str | None, typer.Option(help="Which of its networks; default: ema, or the only one.")
    ] = None,
) -> None:
    """Write a checkpoint's network as .safetensors and .json; runs nothing in it."""
    from harness.models.edm.checkpoints.convert import convert as write

    for written in write(file, out, network):
        typer.echo(written)
