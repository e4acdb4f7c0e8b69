"""`harness power`."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import app


@app.command(
    epilog="Examples: [bold]harness power --rate 0.55 --ties 0.1[/bold] or "
    "[bold]harness power --prompts 200[/bold]"
)
def power(
    rate: Annotated[
        float | None, typer.Option(help="The true winning rate that must show; default: 0.6.")
    ] = None,
    prompts: Annotated[
        int | None, typer.Option(min=2, help="Instead: what so many prompts can show.")
    ] = None,
    ties: Annotated[float, typer.Option(help="Share of tied pairs.")] = 0.0,
    prompt_share: Annotated[
        float,
        typer.Option(help="Share of the outcomes' variance that is the prompts' own, not noise."),
    ] = 0.2,
    alpha: Annotated[float, typer.Option(help="Two-sided level of the test.")] = 0.05,
) -> None:
    """How many prompts and seeds show a winning rate in 80 % of cases."""
    import pandas as pd
    from rich import box
    from rich.console import Console
    from rich.table import Table

    import harness

    found = harness.power(
        rate=rate, prompts=prompts, ties=ties, prompt_share=prompt_share, alpha=alpha
    )
    table = Table(box=box.SIMPLE_HEAD)
    names = ["seeds a prompt", "prompts", "pairs"]
    for name in names if prompts is None else [*names, "winning rate that shows"]:
        table.add_column(name, justify="right")
    for seeds, count, pairs, *shown in found.itertuples(index=False):
        rates = ["none" if pd.isna(rate) else f"{100 * rate:.1f} %" for rate in shown]
        table.add_row(f"{seeds}", f"{count:,}", f"{pairs:,}", *rates)
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"In 80 % of cases, at level {alpha:g}, with {100 * ties:g} % ties and "
        f"{100 * prompt_share:g} % of the variance between prompts; noise of each prompt its own.",
        soft_wrap=True,
    )
