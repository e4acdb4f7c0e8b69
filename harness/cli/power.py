"""`harness power`."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import app

_SEEDS = (1, 2, 4, 8, 16)


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
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from harness.comparison.sample_size import Plan
    from harness.core.errors import HarnessError

    if rate is not None and prompts is not None:
        raise HarnessError(
            "--rate asks how many prompts show it, --prompts which rate they show: give one"
        )
    plan = Plan(ties, prompt_share, alpha)
    table = Table(box=box.SIMPLE_HEAD)
    names = ["seeds a prompt", "prompts", "pairs"]
    for name in names if prompts is None else [*names, "winning rate that shows"]:
        table.add_column(name, justify="right")
    for seeds in _SEEDS:
        count = plan.prompts(0.6 if rate is None else rate, seeds) if prompts is None else prompts
        cells = [f"{seeds}", f"{count:,}", f"{count * seeds:,}"]
        if prompts is not None:
            shown = plan.rate(prompts, seeds)
            cells.append("none" if shown is None else f"{100 * shown:.1f} %")
        table.add_row(*cells)
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"In 80 % of cases, at level {alpha:g}, with {100 * ties:g} % ties and "
        f"{100 * prompt_share:g} % of the variance between prompts; noise of each prompt its own.",
        soft_wrap=True,
    )
