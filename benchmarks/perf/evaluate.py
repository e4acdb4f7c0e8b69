"""Pictures a second that are evaluated: the harness and other programs' own loops, in one run.

    python -m benchmarks.perf.evaluate [--device cuda] [--json FILE]

FID's features beside clean-fid's and torch-fidelity's loop, CLIP score beside torchmetrics'
CLIPScore, HPSv2 beside the hpsv2 package's `score`: from one folder of PNGs and their prompts to
numbers on the host, the harness with `evaluate` and what it stores. Networks are loaded before, and
have random weights, which do not change how long they take: on a GPU of full published size, on a
CPU with `--depth` layers in each tower of CLIP (0: all). Works take turns after a warm-up; ratios
are medians over rounds, of the wall's time and of the CPU's with that of all worker processes,
which other programs do not change. A package that is not installed is left out; hpsv2's is fetched
by pip where there is a network, into a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import open_clip
import torch
from PIL import Image

from benchmarks.perf.features import random_weights
from benchmarks.perf.hpsv2 import find_package, make_network
from benchmarks.perf.peers import Folder, Loop, clean_fid, clip_score, torch_fidelity
from benchmarks.perf.peers import hpsv2 as hpsv2_loop
from benchmarks.perf.timing import machine, speed_ratio
from harness.evaluation import evaluate
from harness.metrics.base import Metric, make_metrics
from harness.metrics.cosine import CosineMetric
from harness.runs.importing import import_images
from harness.runs.manifest import Declared

A_PROMPT = 4
"""Pictures of each prompt."""


@dataclass
class Contest:
    """Ours and theirs with the same network; seconds of the wall and of CPUs, by round."""

    metric: str
    peer: str
    network: str
    loops: dict[str, Loop]
    seconds: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def take_turns(self, folder: Folder) -> None:
        for name, loop in self.loops.items():
            self.seconds.setdefault(name, []).append(timed(partial(loop, folder)))

    def row(self, images: int) -> dict[str, Any]:
        (ours, ours_cpu), (theirs, theirs_cpu) = (
            [list(part) for part in zip(*self.seconds[name], strict=True)] for name in self.loops
        )
        return {
            "metric": self.metric,
            "beside": self.peer,
            "network": self.network,
            "images per second": images / median(ours),
            "its images per second": images / median(theirs),
            "ratio": speed_ratio(ours, theirs),
            "ratio of CPU time": speed_ratio(ours_cpu, theirs_cpu),
            "rounds": {name: self.seconds[name] for name in self.loops},
        }


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the wall, and of the CPUs, those of processes that have ended included."""
    start, busy = time.perf_counter(), sum(os.times()[:4])
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, sum(os.times()[:4]) - busy


def make_folder(path: Path, count: int, side: int) -> Folder:
    """PNGs of smooth random pictures with some noise, and a text beside each."""
    rng = np.random.default_rng(0)
    path.mkdir()
    words = "a photograph of two red cubes beside a lighthouse at dusk, number"
    prompts = [f"{words} {at // A_PROMPT}" for at in range(count)]
    for at, prompt in enumerate(prompts):
        small = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        pixels = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC)).astype(int)
        noisy = (pixels + rng.integers(-4, 5, pixels.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(path / f"{at:06d}.png")
        (path / f"{at:06d}.txt").write_text(prompt)
    return Folder(path, prompts)


def ours(text: str, batch: int, device: str) -> Loop:
    """`evaluate` of the folder as an imported run, whose results are removed before."""
    made = make_metrics([text])
    runs: dict[Path, Any] = {}
    for metric in made:
        metric.load(device)

    def loop(folder: Folder) -> object:
        if folder.path not in runs:
            out = str(folder.path) + f"-run-{made[0].name}"
            runs[folder.path] = import_images(str(folder.path), Declared(), out=out)
        run = runs[folder.path]
        for kind in ("scores", "features"):
            shutil.rmtree(Path(run.path, kind), ignore_errors=True)
        _forget(made)
        report = evaluate(run, made, device=device, batch_size=batch)
        assert all(found.scored == len(folder.prompts) for found in report.outcomes.values())
        return report

    return loop


def _forget(metrics: list[Metric]) -> None:
    """Prompts that were embedded in an earlier round: others embed them every time."""
    for metric in metrics:
        if isinstance(metric, CosineMetric):
            metric.embedded = {}


def contests(scratch: Path, batch: int, depth: int, device: str) -> Iterator[Contest]:
    """One after the other, so that one network of each is in memory."""
    weights = random_weights(scratch / "inception.pth")
    net = "Inception-v3, float32"
    reference = scratch / "reference.npz"  # is never looked at: features alone are stored
    np.savez(reference, mu=np.zeros(2048), sigma=np.eye(2048))
    given = f"(checkpoint={weights}, reference={reference})"
    clean, tf = (f"{name}{given}" for name in ("fid-clean", "fid"))
    loops = {"harness": ours(clean, batch, device), "clean-fid": clean_fid(weights, batch, device)}
    yield Contest("fid-clean", "clean-fid", net, loops)
    if find_spec("torch_fidelity"):
        theirs = torch_fidelity(weights, batch, device)
        loops = {"harness": ours(tf, batch, device), "torch-fidelity": theirs}
        yield Contest("fid", "torch-fidelity", net, loops)
    layers = f"{depth} layers of each tower" if depth else "all layers"
    clip = f"clip(model=ViT-L-14, pretrained=openai:{_clip_weights(scratch, depth)})"
    theirs = clip_score(depth, batch, device)
    loops = {"harness": ours(clip, batch, device), "CLIPScore": theirs}
    yield Contest("clip", "torchmetrics' CLIPScore", f"ViT-L-14, {layers}", loops)
    checkpoint, _ = make_network(scratch, depth)
    mine = {"harness": ours(f"hpsv2(checkpoint={checkpoint})", batch, device)}
    try:
        theirs = hpsv2_loop(find_package(scratch), checkpoint, device)
    except SystemExit as absent:
        print(f"left out: {absent}", file=sys.stderr)
        return
    precision = "its own in half precision" if device.startswith("cuda") else "float32"
    net = f"ViT-H-14, {layers}, {precision}"
    yield Contest("hpsv2", "hpsv2's score", net, {**mine, "hpsv2": theirs})


def _clip_weights(scratch: Path, depth: int) -> Path:
    """Random weights of ViT-L-14; with a depth, open_clip then knows it with so many layers."""
    if depth:
        config = open_clip.get_model_config("ViT-L-14")
        for tower in ("vision_cfg", "text_cfg"):
            config[tower]["layers"] = depth
        (scratch / "clip").mkdir()
        (scratch / "clip" / "ViT-L-14.json").write_text(json.dumps(config))
        open_clip.add_model_config(scratch / "clip")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("ViT-L-14").state_dict(), scratch / "clip.pt")
    return scratch / "clip.pt"


def figures(
    scratch: Path,
    asked: argparse.Namespace,
    save: Callable[[dict[str, Any]], object] = lambda found: None,
) -> dict[str, Any]:
    """Every row; `save` is given what is known after each."""
    few = make_folder(scratch / "few", min(2 * asked.batch, asked.images), asked.side)
    many = make_folder(scratch / "many", asked.images, asked.side)
    found: dict[str, Any] = {
        "images": asked.images, "side": asked.side, "batch": asked.batch, "rounds": asked.rounds,
        "rows": [],
    }  # fmt: skip
    for contest in contests(scratch, asked.batch, asked.depth, asked.device):
        contest.take_turns(few)
        contest.seconds.clear()
        for _ in range(asked.rounds):
            contest.take_turns(many)
        found["rows"].append(contest.row(asked.images))
        save(found)
        contest.loops.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return found


def table(about: dict[str, Any], found: dict[str, Any]) -> str:
    """The figures in words and columns."""
    lines = [
        f"{found['images']} PNGs of {found['side']}x{found['side']}, {A_PROMPT} of a prompt, batch "
        f"{found['batch']}, medians of {found['rounds']}",
        ", ".join(f"{key} {value}" for key, value in about.items()),
        "",
        f"{'metric':11}{'beside':26}{'ours, images/s':>15}{'its':>9}{'ratio':>8}{'of CPU':>8}"
        "  network, random weights",
    ]
    lines += [
        f"{row['metric']:11}{row['beside']:26}{row['images per second']:15.1f}"
        f"{row['its images per second']:9.1f}{row['ratio']:8.2f}{row['ratio of CPU time']:8.2f}"
        f"  {row['network']}"
        for row in found["rows"]
    ]
    return "\n".join(lines)


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Options; what is left out depends on the device."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=int, help="512, on a CPU 32")
    parser.add_argument("--side", type=int, default=512, help="of the pictures")
    parser.add_argument("--batch", type=int, help="64, on a CPU 16")
    parser.add_argument("--depth", type=int, help="layers of each tower; 0: all; on a CPU 1")
    parser.add_argument("--rounds", type=int, default=3, help="how often the works take turns")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here, too")
    asked = parser.parse_args(words)
    on_gpu = asked.device.startswith("cuda")
    for name, gpu, cpu in (("images", 512, 32), ("batch", 64, 16), ("depth", 0, 1)):
        if getattr(asked, name) is None:
            setattr(asked, name, gpu if on_gpu else cpu)
    return asked


def main() -> None:
    asked = parse()
    torch.set_num_threads(asked.threads)
    about = machine(asked.device)
    command = "python -m benchmarks.perf.evaluate " + " ".join(sys.argv[1:])
    dated = {"date": time.strftime("%Y-%m-%d"), "command": command, **about}

    def save(found: dict[str, Any]) -> None:
        if asked.json:
            asked.json.write_text(json.dumps({**dated, **found}, indent=1) + "\n")

    with tempfile.TemporaryDirectory() as folder:
        print(table(about, figures(Path(folder), asked, save)), flush=True)


if __name__ == "__main__":
    main()
