"""Pictures a second: the harness, diffusers' own pipeline and the bare loop, in one run.

    python -m benchmarks.perf.generate [--device cuda] [--size sd15] [--json FILE]

Networks have their full published size and random weights, which do not change how long they
take; nothing is downloaded. DDIM with 20 steps and guidance, float16 on a GPU and float32 on a
CPU; EDM2-S with its XS guide takes 16 steps of Heun, without a decoder; FLUX takes bfloat16 and its
distilled guidance, one evaluation a step; `shapes` is the embedded model. The works take turns
after two steps each to warm up; ratios are medians over rounds. What a work took is printed at
once, and FILE is written anew with every figure: nothing is lost to a limit of time.
diffusers decodes in the precision of its own pipeline, and so does the bare loop: the least that
makes these pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import disk_usage
from statistics import median
from typing import Any

import torch

from benchmarks.perf.contestants import Harness, Heun, Pipeline
from benchmarks.perf.flux import DISTILLED, Flux, save_flux
from benchmarks.perf.networks import save_edm2, save_pipeline
from benchmarks.perf.timing import (
    Times,
    Work,
    alternate,
    clock,
    counts,
    machine,
    measured,
    speed_ratio,
)

OURS, BARE, CALL = "harness", "bare loop", "diffusers' pipeline, same batch"
ALONE, ZIGZAG = "diffusers, one image at a time", "harness, zigzag"
INTERVAL = "harness, guidance at 3 of the steps"
ROW, BATCHES = "harness, 3 batches in a row", 3


@dataclass(frozen=True)
class Size:
    """What is measured: batch and steps, those of zigzag, rounds, and the images of a whole run."""

    batch: int
    steps: int
    rounds: int
    zigzag: int = 7
    images: int = 0
    guidance: float = 7.5
    tiny_batch: int = 2


SIZES = {
    "sd15": Size(batch=16, steps=20, rounds=5, images=48),
    "sdxl": Size(batch=8, steps=20, rounds=3, images=24, guidance=5.0),
    "edm2-s": Size(batch=64, steps=16, rounds=3, guidance=1.4),
    "flux": Size(batch=2, steps=12, rounds=2, zigzag=4, images=4, guidance=1.0),
    "shapes": Size(batch=16, steps=20, rounds=3, images=32, guidance=5.5, tiny_batch=16),
}


Figures = Iterator[dict[str, Any]]
"""Figures as they are known, by what they are; later ones replace earlier ones."""


def pipeline_figures(
    model: str, size: Size, device: str, own: Callable[[Harness], Pipeline] = Pipeline
) -> Figures:
    """Every figure of a diffusers pipeline, by its folder or name."""
    harness = Harness(model, size.batch, device, size.guidance)
    pipeline = own(harness)
    encoding = {OURS: harness.encodes(), CALL: pipeline.encodes()}
    for _ in range(2):  # the first time warms up
        encoded = {name: measured(work, 1, device)[0][0] for name, work in encoding.items()}
    harness.ensemble.encode(harness.texts, harness.negatives)
    works: dict[str, tuple[Work, int]] = {
        OURS: (harness.draws(), size.steps),
        ROW: (harness.in_a_row(BATCHES), size.steps),
        BARE: (pipeline.bare, size.steps),
        CALL: (pipeline.call(), size.steps),
        ZIGZAG: (harness.draws("zigzag", decode=False), size.zigzag),
        ALONE: (pipeline.call(1), size.steps),
    }
    yield {"prompts encoded, seconds a batch": encoded}
    for times in alternate(works, size.rounds, device):
        yield _so_far(times, {ALONE: 1, ROW: BATCHES * size.batch}, size.batch)
    ratios = _ratios(times)
    zigzag = _per_evaluation(harness, times[ZIGZAG], "zigzag", size.zigzag)
    ddim = _per_evaluation(harness, times[OURS], "ddim", size.steps)
    ratios["zigzag's time an evaluation over DDIM's"] = speed_ratio(ddim, zigzag)
    if torch.device(device).type == "cpu":
        ratios["network's share of sampling"] = harness.network_share(size.steps)
    yield {"ratios": ratios}
    with tempfile.TemporaryDirectory() as folder:
        began = clock(device)
        harness.makes_run(Path(folder), "ddim", size.steps, size.images)
        whole = clock(device) - began
    bare = size.images / size.batch * median(times[BARE].whole)
    yield {"ratios": {**ratios, "a run's time over the bare loop's": whole / bare}}
    yield {"a run": {"images": size.images, "seconds": whole}}
    draws = {"ddim": harness.draws(decode=False), "bare loop": pipeline.bare}
    yield {"counts": {name: counts(work, 1, device) for name, work in draws.items()}}
    yield {"mean difference of pictures, of 255": _differences(works, device)}


def edm2_figures(model: str, guide: str, size: Size, device: str) -> Figures:
    """Every figure of an EDM2 network and its guide, without a decoder."""
    harness = Harness(model, size.batch, device, size.guidance, guide)
    heun = Heun(harness, guide)
    harness.ensemble.encode(harness.texts, harness.negatives)
    works: dict[str, tuple[Work, int]] = {
        OURS: (harness.draws("heun", decode=False), size.steps),
        BARE: (heun.bare, size.steps),
        INTERVAL: (harness.draws(_interval, decode=False), size.steps),
    }
    for times in alternate(works, size.rounds, device):
        yield _so_far(times, {}, size.batch)
    interval = speed_ratio(times[INTERVAL].whole, times[OURS].whole)
    yield {"ratios": {**_ratios(times), "interval over full guidance": interval}}
    draws = {"heun": works[OURS][0], "bare loop": heun.bare}
    yield {"counts": {name: counts(work, 2, device) for name, work in draws.items()}}
    ours, bare = (next(work(4)) for work in draws.values())
    yield {"relative difference of latents": float((ours - bare).norm() / bare.norm())}


def _interval(steps: int) -> str:
    """Heun with guidance at three steps in the middle, all that there are of two."""
    first = (steps - 2) // 2
    return f"heun(interval_steps=[{first}, {min(first + 2, steps - 1)}])"


def _per_evaluation(harness: Harness, times: Times, sampler: str, steps: int) -> list[float]:
    return [seconds / harness.nfe(sampler, steps) for seconds in times.sampling]


def _so_far(times: dict[str, Times], images: dict[str, int], batch: int) -> dict[str, Any]:
    """The rows of the works timed so far, and their ratios after a whole round."""
    rows = _rows({name: own for name, own in times.items() if own.laps}, images, batch)
    whole = len({len(own.laps) for own in times.values()}) == 1
    return {"rows": rows, **({"ratios": _ratios(times)} if whole else {})}


def _rows(times: dict[str, Times], images: dict[str, int], batch: int) -> list[dict[str, Any]]:
    return [
        {
            "work": name,
            "images": images.get(name, batch),
            "seconds": median(found.whole),
            "sampling": median(found.sampling) if len(found.laps[0]) > 1 else None,
            "images per second": images.get(name, batch) / median(found.whole),
            "peak memory": found.memory,
            "rounds": found.laps,
        }
        for name, found in times.items()
    ]


def _ratios(times: dict[str, Times]) -> dict[str, float]:
    """Speeds, over that of another work: above 1 is faster."""
    ours, bare = times[OURS], times[BARE]
    found = {"harness over bare loop": speed_ratio(ours.whole, bare.whole)}
    if len(ours.laps[0]) > 1:
        found["the same without decoder"] = speed_ratio(ours.sampling, bare.sampling)
        found["its decoder over bare"] = speed_ratio(
            [laps[1] for laps in ours.laps], [laps[1] for laps in bare.laps]
        )
    if ROW in times:
        each = [seconds / BATCHES for seconds in times[ROW].whole]
        found["batches in a row over bare loop"] = speed_ratio(each, bare.whole)
    if CALL in times:
        found["harness over diffusers' pipeline"] = speed_ratio(ours.whole, times[CALL].whole)
    return found


def _differences(works: dict[str, tuple[Work, int]], device: str) -> dict[str, float]:
    """How far the pictures of 4 steps are from the bare loop's: it is the same work."""
    given = {name: measured(works[name][0], 4, device)[2] for name in (OURS, CALL, BARE)}
    pictures = {name: results[-1].double() for name, results in given.items()}
    found = {name: float((pictures[name] - pictures[BARE]).abs().mean()) for name in (OURS, CALL)}
    finite = (bool(given[name][0].isfinite().all()) for name in (OURS, BARE))
    return {**found, "latents are finite": float(all(finite))}


def _scratch() -> str | None:
    """A folder in memory where there is room: what a disk takes is another question."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and disk_usage(memory).free > 48 << 30 else None


def figures(
    name: str,
    device: str,
    tiny: bool,
    rounds: int | None,
    save: Callable[[dict[str, Any]], object] = lambda found: None,
) -> dict[str, Any]:
    """Build, load and measure a size; `save` is given all figures as often as one is known."""
    size = SIZES[name]
    if tiny:
        size = Size(size.tiny_batch, 4, 1, 3, min(size.images, 4), size.guidance)
    if rounds:
        size = replace(size, rounds=rounds)
    began = time.perf_counter()
    found = {"batch": size.batch, "steps": size.steps, "rounds": size.rounds}
    with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
        for part in _measure(name, Path(folder), size, device, tiny):
            found |= {**part, "minutes": (time.perf_counter() - began) / 60}
            save(found)
    return found


def _measure(name: str, folder: Path, size: Size, device: str, tiny: bool) -> Figures:
    if name == "shapes":
        return pipeline_figures("shapes", size, device)
    if name == "edm2-s":
        model, guide = save_edm2(folder, device, tiny)
        return edm2_figures(str(model), str(guide), size, device)
    if name == "flux":
        model = f"{save_flux(folder, device, tiny)}(distilled_guidance={DISTILLED})"
        return pipeline_figures(model, size, device, Flux)
    return pipeline_figures(str(save_pipeline(name, folder, device, tiny)), size, device)


def table(name: str, about: dict[str, Any], found: dict[str, Any]) -> str:
    """The figures in words and columns."""
    lines = [
        f"{name}, batch {found['batch']}, {found['steps']} steps, medians of {found['rounds']}; "
        + ", ".join(f"{key} {value}" for key, value in about.items() if key != "device"),
        about["device"],
        "",
        f"{'':34}{'images/s':>10}{'s a batch':>11}{'sampling':>10}{'GB':>7}",
    ]
    for row in found["rows"]:
        sampling = f"{row['sampling']:10.3f}" if row["sampling"] else " " * 10
        lines.append(
            f"{row['work']:34}{row['images per second']:10.3f}{row['seconds']:11.3f}{sampling}"
            f"{row['peak memory'] / 1e9:7.1f}"
        )
    lines += ["", *(f"{key:42}{value:8.3f}" for key, value in found["ratios"].items())]
    for sampler, counted in found["counts"].items():
        for unit, values in counted.items():
            listed = ", ".join(f"{key} {value:g}" for key, value in values.items())
            lines.append(f"{sampler}, {unit}: {listed}")
    for key in found.keys() - {"rows", "ratios", "counts", "batch", "steps", "rounds"}:
        value = found[key]
        parts = value.items() if isinstance(value, dict) else [("", value)]
        lines.append(f"{key}: " + ", ".join(f"{part} {number:.4g}" for part, number in parts))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", choices=SIZES, default="shapes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here, too")
    parser.add_argument("--rounds", type=int, help="how often the works take turns")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    about = machine(asked.device)
    command = "python -m benchmarks.perf.generate " + " ".join(sys.argv[1:])
    dated = {"date": time.strftime("%Y-%m-%d"), "command": command, "size": asked.size, **about}

    def save(found: dict[str, Any]) -> None:
        if asked.json:
            asked.json.write_text(json.dumps({**dated, **found}, indent=1) + "\n")

    found = figures(asked.size, asked.device, asked.tiny, asked.rounds, save)
    print(table(asked.size, about, found), flush=True)


if __name__ == "__main__":
    main()
