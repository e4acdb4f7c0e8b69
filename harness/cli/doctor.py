"""`harness doctor`: what this machine has, what a benchmark lacks here, what is wrong in a run."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import app
from harness.cli import option_types as options
from harness.core.call import parse_call, split_list
from harness.core.errors import HarnessError


@app.command(
    epilog="Examples: [bold]harness doctor --model sdxl --metrics hpsv2,fid[/bold], [bold]harness "
    "doctor edm-cifar10-32x32-cond-vp.pkl[/bold], [bold]harness doctor "
    "results/shapes/shapes/ddim-1a2b3c4d --repair[/bold]"
)
def doctor(
    file: Annotated[
        str | None,
        typer.Argument(help="A network's file (.pkl, .pt or .safetensors), or a run's folder."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Can this model run here?")] = None,
    metrics: Annotated[str | None, typer.Option(help="Can these? Comma-separated.")] = None,
    prompts: Annotated[str | None, typer.Option(help="Is this prompt set here?")] = None,
    bench: Annotated[
        str | None, typer.Option(help="All three, of this benchmark; default: the embedded one.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Of a run: remove what is wrong and make it again.")
    ] = False,
    seal: Annotated[
        bool,
        typer.Option("--seal", help="Of an earlier version's run: say in each file whose it is."),
    ] = False,
    device: options.Device = None,
) -> None:
    """What this machine has, and what of a benchmark, model or metric can run here.

    Exit code 1 where something that was asked for is missing. With a network's FILE: what it holds,
    and whether it can be run; nothing in it is executed. With a run's folder: which of its files
    are foreign, damaged, missing or left over; exit code 1 if any is. All are read whole.
    """
    asked = {"--model": model, "--metrics": metrics, "--prompts": prompts, "--bench": bench}
    if file is not None:
        if given := [name for name, value in asked.items() if value is not None]:
            raise HarnessError(f"{given[0]} asks about this machine, {file} is a file: give one")
        from harness.store import files

        if files.is_folder(file):
            raise typer.Exit(_run(file, repair, seal, device))
        if repair or seal:
            raise HarnessError(f"--repair and --seal are for the folder of a run, not for {file}")
        _describe(Path(file))
    elif repair or seal:
        raise HarnessError("--repair and --seal are for a run: name its folder")
    elif any(asked.values()):
        raise typer.Exit(_needs(bench, model, metrics, prompts))
    else:
        _machine()


def _run(folder: str, repair: bool, seal: bool, device: str | None) -> int:
    """Print a line for each fault of a run, and one on all; 1 if any is left."""
    from harness.store.inspection import inspect_run
    from harness.store.run import Run

    run = Run.open(folder)
    if seal:
        from harness.store.seal_run import seal as sealed

        typer.echo(f"{folder}: {sealed(run):,} files sealed")
        run = Run.open(folder)
    faults, read = inspect_run(run)
    for fault in faults:
        typer.echo(str(fault))
    if faults and repair:
        from harness.experiments.repairing import repair as repaired
        from harness.runs.devices import pick_device
        from harness.runs.folder import Settings

        threads = run.record["resolved"].get("threads", 1)
        faults = repaired(run, faults, Settings(pick_device(device), threads), typer.echo)
        for fault in faults:
            typer.echo(f"still {fault}")
    counts = Counter(fault.what for fault in faults)
    found = ", ".join(f"{count} {what}" for what, count in counts.items()) or "nothing is wrong"
    typer.echo(f"{folder}: {read:,} files read, {found}")
    return int(bool(faults))


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
