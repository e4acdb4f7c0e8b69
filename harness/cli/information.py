"""`harness list`: what is registered."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Annotated, Any

import typer

from harness.cli import app
from harness.core import data
from harness.core.errors import HarnessError, unknown

_WHAT = "samplers, policies, models, metrics, prompts, benchmarks or runs"


@app.command(
    name="list",
    epilog="Examples: [bold]harness list models[/bold], [bold]harness list samplers zigzag[/bold]",
)
def list_(
    what: Annotated[str, typer.Argument(help=f"{_WHAT}.")],
    name: Annotated[
        str | None,
        typer.Argument(help="A sampler: everything about it. Of runs: their folder; results."),
    ] = None,
    certified: Annotated[
        bool,
        typer.Option("--certified", help="Samplers or metrics: how far they are from other code."),
    ] = False,
) -> None:
    """What is registered: samplers, policies, models, metrics, prompts or benchmarks; and the runs
    below a folder."""
    if certified:
        if what not in ("samplers", "metrics"):
            raise HarnessError(
                f"--certified goes with 'list samplers' or 'list metrics', not with {what!r}"
            )
        return _certified_metrics() if what == "metrics" else _certified_samplers()
    tables = {
        "samplers": _samplers,
        "policies": _policies,
        "models": _models,
        "metrics": _metrics,
        "prompts": _prompts,
        "benchmarks": _benchmarks,
        "runs": _runs,
    }
    if what not in tables:
        raise unknown("list", what, tables)
    named: dict[str, Callable[[str], None]] = {"samplers": _sampler, "runs": _runs}
    if name is None:
        tables[what]()
    elif what in named:
        named[what](name)
    else:
        raise HarnessError(f"'list {what}' takes no name; {' and '.join(named)} do")


_WIDE = 140


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], wide: Collection[str] = ()
) -> None:
    """Print a table; columns named in `wide` are shown only where the terminal is wide enough."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # what is piped into a file or another command has no width of its own
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 2 * _WIDE)
    room = console.width >= _WIDE
    kept = [at for at, column in enumerate(columns) if room or column not in wide]
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for at in kept:
        table.add_column(columns[at], no_wrap=at == 0, overflow="fold")
    for row in rows:
        table.add_row(*[Text(str(row[at])) for at in kept])
    console.print(table)
    if len(kept) < len(columns):
        console.print(f"In {_WIDE} columns also: {', '.join(wide)}.", style="dim")


def _samplers() -> None:
    from harness.samplers.base import SAMPLERS

    print_table(
        ["name", "title", "arXiv", "own parameters", "paper"],
        [
            (name, s.title, s.paper.rpartition("arXiv:")[2], ", ".join(s.own), s.paper)
            for name, s in SAMPLERS
        ],
        wide=("own parameters", "paper"),
    )
    typer.echo(
        "All take steps, a ladder and the guidance policies (harness list policies), too. With "
        "defaults: harness list samplers NAME"
    )


def _sampler(name: str) -> None:
    """What one sampler is and takes, with where its defaults come from."""
    import inspect

    from harness.core.call import show_value
    from harness.engine.resolve import parameters
    from harness.samplers.base import SAMPLERS

    found = SAMPLERS.get(name)
    _say(f"{found.title} ({name}). {found.paper}\n")
    if text := inspect.getdoc(found.run):
        _say(f"{text}\n")
    own = {key: default for key, (_, default) in found.own.items()}
    for key, default in own.items():
        value = "not set" if default is None else show_value(default)
        _say(f"  {key} = {value}{_ELSEWHERE + _OWN if key == 'guidance' else ''}")
    others = [key for key in parameters(found) if key not in own and key != "steps"]
    _say(f"  steps{_ELSEWHERE}")
    _say(f"\nLadder and guidance policies, as of most samplers: {', '.join(others)}")


def _say(text: str) -> None:
    """Print lines that break between words in a terminal, and nowhere in a pipe."""
    if not sys.stdout.isatty():
        typer.echo(text)
        return
    width = shutil.get_terminal_size().columns
    for line in text.split("\n"):
        indent = "    " if line.startswith("  ") else ""
        typer.echo(textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False))


_ELSEWHERE = "; where it is not given, the benchmark's, else the model's (harness list models)"
_OWN = ", else this"


def _policies() -> None:
    from harness.engine.policies.base import policies

    print_table(
        ["name", "title", "parameters of every sampler", "paper"],
        [(p.name, p.title, ", ".join(p.parameters), p.paper) for p in policies()],
    )


_METRIC = "metric "


def _certificate(metrics: bool) -> dict[str, list[dict[str, Any]]]:
    """The golden tests' records by what they certify, each with its worst case first (relative to
    the largest value, if that is above 1). `make certify` writes them."""
    rows = json.loads(data.data_path("refs/certified.json").read_text())
    kept: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: -row["worst_error"] / max(row["largest_value"], 1)):
        if row["what"].startswith(_METRIC) == metrics:
            kept.setdefault(row["what"].removeprefix(_METRIC), []).append(row)
    return dict(sorted(kept.items()))


def _worst(cases: list[dict[str, Any]]) -> tuple[object, ...]:
    """Cells of a table: number of cases, error and largest value of the worst one, and its name
    (the case of a parametrised test, or the test's name)."""
    worst = cases[0]
    test = worst["test"].rpartition("::")[2]
    name = test.partition("[")[2].removesuffix("]") or test
    return len(cases), f"{worst['worst_error']:.1e}", f"{worst['largest_value']:.3g}", name


def _certified_samplers() -> None:
    from harness.samplers.base import SAMPLERS

    records = _certificate(metrics=False)
    columns = ["what", "cases", "worst error", "largest value", "worst case"]
    print_table(columns, [(what, *_worst(cases)) for what, cases in records.items()])
    _print_uncertified(set(SAMPLERS.names()) - set(records))
    typer.echo(
        "Elementwise, in the final samples, against recorded or running reference code; of solvers "
        "without one, their own error against a closed form (docs/solvers.md)."
    )


def _certified_metrics() -> None:
    from harness.metrics.base import METRICS

    records = _certificate(metrics=True)
    rows = [
        (what, reference, *_worst([case for case in cases if case["reference"] == reference]))
        for what, cases in records.items()
        for reference in sorted({case["reference"] for case in cases})
    ]
    columns = ["metric", "reference", "cases", "worst error", "largest value", "worst case"]
    print_table(columns, rows)
    _print_uncertified(set(METRICS.names()) - {what.partition("(")[0] for what in records})
    typer.echo("Scores on the same images and the same weights as the reference implementation.")


def _print_uncertified(names: Collection[str]) -> None:
    if names:
        typer.echo(f"Without a reference: {', '.join(sorted(names))}.")


def _models() -> None:
    from harness.models.base import MODELS

    print_table(
        ["name", "title", "size", "steps", "guidance", "source", "licence"],
        [
            (
                name,
                e.title,
                f"{e.size[0]}x{e.size[1]}",
                e.steps,
                "sampler's" if e.guidance is None else e.guidance,
                e.source,
                e.licence,
            )
            for name, e in MODELS
        ],
        wide=("source", "licence"),
    )
    typer.echo(
        "Steps and guidance are taken where neither the sampler's text nor the benchmark says any; "
        "without guidance, it is the sampler's own."
    )
    typer.echo(
        "Any diffusers folder or hub id (OWNER/NAME or OWNER/NAME@REVISION) of a Stable Diffusion "
        "1 to 3.5 or HunyuanDiT works as a model, too; with another U-Net: sdxl(unet=FOLDER_OR_ID)."
    )


def _metrics() -> None:
    from harness.metrics.base import describe

    print_table(
        ["name", "title", "better", "range", "of", "model", "prompts", "paper", "licence"],
        [
            (
                about.name,
                about.title,
                f"{about.direction} {'↑' if about.direction == 'higher' else '↓'}",
                f"[{about.range[0]:g}, {about.range[1]:g}]",
                {"item": "image", "prompt": "image in its prompt", "set": "run"}[about.kind],
                about.model,
                "needed" if about.needs_prompts else "-",
                about.paper,
                about.licence,
            )
            for about in describe()
        ],
        wide=("range", "model", "paper", "licence"),
    )
    typer.echo("And any image metric of torchmetrics: torchmetrics(NAME), see docs/torchmetrics.md")


def _prompts() -> None:
    from harness.prompts.base import describe

    columns = ["name", "prompts", "categories", "description", "licence", "home", "location"]
    rows = [[row[column] for column in columns] for row in describe()]
    print_table(columns, rows, wide=("licence", "home"))
    typer.echo("A file works as a prompt set, too: .txt .csv .tsv .json .jsonl .parquet")


def _benchmarks() -> None:
    from harness.experiments import benchmark

    found = [benchmark.load(name) for name in benchmark.names()]
    print_table(
        ["name", "title", "model", "candidate", "baseline", "prompts", "seeds", "metrics"],
        [
            (b.name, b.title, b.model, b.candidate or f"{len(b.candidates)} of them",
             b.baseline or "-", f"{b.prompts}{f' ({b.limit})' if b.limit else ''}", b.seeds,
             ", ".join(b.metrics))
            for b in found
        ],
        wide=("prompts", "seeds", "metrics"),
    )  # fmt: skip


def _runs(folder: str = "results") -> None:
    from harness.runs.catalogue import COLUMNS, catalogue

    rows = [run.cells() for run in catalogue(folder)]
    print_table(COLUMNS, rows, wide=("sampler", "scored on", "report", "folder"))
