"""`harness doctor`: what this machine has, and what a benchmark lacks here."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import app
from harness.core.call import parse_call, split_list
from harness.core.errors import HarnessError


@app.command(
    epilog="Examples: [bold]harness doctor --model sdxl --metrics hpsv2,fid[/bold], [bold]harness "
    "doctor edm-cifar10-32x32-cond-vp.pkl[/bold]"
)
def doctor(
    file: Annotated[
        Path | None, typer.Argument(help="A network's file: .pkl, .pt or .safetensors.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Can this model run here?")] = None,
    metrics: Annotated[str | None, typer.Option(help="Can these? Comma-separated.")] = None,
    prompts: Annotated[str | None, typer.Option(help="Is this prompt set here?")] = None,
    bench: Annotated[
        str | None, typer.Option(help="All three, of this benchmark; default: the embedded one.")
    ] = None,
) -> None:
    """What this machine has, and what of a benchmark, model or metric can run here.

    Exit code 1 where something that was asked for is missing. With a FILE: what it holds, and
    whether it can be run; nothing in it is executed.
    """
    asked = {"--model": model, "--metrics": metrics, "--prompts": prompts, "--bench": bench}
    if file is not None:
        if given := [name for name, value in asked.items() if value is not None]:
            raise HarnessError(f"{given[0]} asks about this machine, {file} is a file: give one")
        _describe(file)
    elif any(asked.values()):
        raise typer.Exit(_needs(bench, model, metrics, prompts))
    else:
        _machine()


def _describe(file: Path) -> None:
    from harness.models.edm.describe import describe_file

    for line in describe_file(file):
        typer.echo(line)


def _machine() -> None:
    """Ten lines: versions, devices, room, and the embedded benchmark."""
    import torch

    from harness.fetch.download import cache_root
    from harness.runs.folder import environment

    versions = environment()
    commit = f", commit {versions.pop('commit')}" if "commit" in versions else ""
    first, *others = (f"{name} {version}" for name, version in versions.items())
    typer.echo(f"{first}{commit}")
    typer.echo(", ".join(others))
    typer.echo(f"CPU: {len(os.sched_getaffinity(0))} cores, {_memory()} of memory")
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        typer.echo(f"cuda:{index}: {name}, {_size(free)} free of {_size(total)}")
    if not torch.cuda.is_available():
        typer.echo("GPU: none, runs on the CPU")
    typer.echo(f"disk: {_size(shutil.disk_usage('.').free)} free here")
    typer.echo(f"cache (HARNESS_CACHE): {cache_root()}")
    s3 = "installed" if importlib.util.find_spec("s3fs") else "pip install 'sampler-harness[s3]'"
    typer.echo(f"results on s3://: {s3}")
    _needs("shapes", None, None, None)
    typer.echo("others: harness doctor --model sdxl --metrics hpsv2,fid, or --bench drawbench")


def _needs(bench: str | None, model: str | None, metrics: str | None, prompts: str | None) -> int:
    """Print a line for each thing that is asked for; 1 if any cannot run here."""
    from harness.experiments.benchmark import load

    benchmark = load(bench) if bench else None
    model = model or (benchmark.model if benchmark else None)
    prompts = prompts or (benchmark.prompts if benchmark else None)
    names = split_list(metrics) if metrics else list(benchmark.metrics if benchmark else [])
    states = [(f"model {model}", _model(model))] if model else []
    states += [(f"prompts {prompts}", _prompts(prompts))] if prompts else []
    states += _metrics(names)
    ready = all(state.startswith(_READY) for _, state in states)
    if benchmark and ready:
        states = [(f"benchmark {benchmark.name}", f"{_READY} (model, prompts, every metric)")]
    for what, state in states:
        typer.echo(f"{what}: {state}")
    return int(not ready)


_READY = "ready"


def _model(text: str) -> str:
    from harness.models.load import find

    try:
        call = parse_call(text)
        entry = find(call)
        entry.decodable(call.params)
        return f"{_READY} ({entry.revision()[:12]})"
    except HarnessError as error:
        return str(error)


def _prompts(text: str) -> str:
    from harness.prompts.base import load_prompts

    try:
        return f"{_READY} ({len(load_prompts(text).prompts):,})"
    except HarnessError as error:
        return str(error)


def _metrics(texts: list[str]) -> list[tuple[str, str]]:
    from harness.metrics.base import checks, make_metrics

    made = make_metrics(texts)
    problems = checks(made)
    return [(f"metric {one.label}", problems.get(one.label, _READY)) for one in made]


def _memory() -> str:
    return _size(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _size(count: float) -> str:
    return f"{count / 2**30:.0f} GiB"
