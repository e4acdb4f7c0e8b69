"""`harness arena`."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import app


@app.command(
    epilog="Example: [bold]harness arena results/shapes/shapes/zigzag-1a2b3c4d "
    "results/shapes/shapes/ddim-5e6f7a8b[/bold], then [bold]harness compare[/bold] of the two with "
    "[bold]--metrics shapes-alignment,human[/bold]"
)
def arena(
    candidate: Annotated[str, typer.Argument(help="A run folder.")],
    baseline: Annotated[str, typer.Argument(help="The run folder to compare it with.")],
    out: Annotated[
        str | None, typer.Option(help="The comparison's folder; default: the candidate's.")
    ] = None,
    rater: Annotated[
        str | None, typer.Option(help="Who votes; default: the user's login name.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the order and the sides.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many pairs.")] = None,
    question: Annotated[
        str, typer.Option(help="What is asked: prompt (which fits it better) or looks.")
    ] = "prompt",
    port: Annotated[int, typer.Option(help="On 127.0.0.1; default: any that is free.")] = 0,
) -> None:
    """Vote on two runs' pairs of images, blind, in a browser on this machine.

    Votes are kept as they are given: stop with Ctrl-C, go on later. Each rater has their own.
    Images that were imported as unpaired are shown with one of the same prompt, drawn at random.
    """
    from contextlib import suppress
    from getpass import getuser

    from harness.arena import Arena, Ballot
    from harness.store.run import Run

    runs = Run.open(candidate), Run.open(baseline)
    ballot = Ballot(*runs, out or candidate, rater or getuser(), seed, limit, question)
    with Arena(ballot, port) as server:
        typer.echo(f"{server.url}  ({ballot.done} of {len(ballot.pairs)} pairs done; Ctrl-C stops)")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    typer.echo(f"{ballot.path}: {ballot.done} votes. Next:")
    where = f" --out {out}" if out else ""
    typer.echo(f"harness compare {candidate} {baseline} --metrics human{where}")
