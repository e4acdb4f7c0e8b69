"""HPSv2 of the same images with the same network: the hpsv2 package's `score` and ours.

    python benchmarks/perf/hpsv2.py [--depth 1] [--images 64] [--prompts 16] [--size 256]

Needs no weights: the network is random, in the official checkpoint's format. `--depth 0` is all of
it: 1e9 parameters, 13 GB of memory and, on one core, 3 s a picture on either side. The checkpoint
has just been written, so that reading it is as cheap as it gets. The hpsv2 package is used where it
is installed, else put into a temporary folder by pip, without what it asks for.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import open_clip
import torch
from PIL import Image

from harness.metrics.encoders import ItemRow
from harness.metrics.hpsv2 import Hpsv2
from harness.metrics.hpsv2_package import import_package

FULL = (32, 24)
"""Layers of ViT-H-14: pictures, text."""
PARTS = ["build and load", "read and resize", "text network", "image network"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--depth", type=int, default=1, help="layers of either tower; 0: all")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--size", type=int, default=256, help="side of the pictures")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint, layers = make_network(folder, options.depth)
        files, prompts = make_images(folder, options.images, options.prompts, options.size)
        package = find_package(folder)
        runs = {
            "hpsv2.score, a call an image": (theirs, 1),
            "hpsv2.score, a call a prompt": (theirs, options.images // options.prompts),
        }
        cut = f" of {FULL[0]} and {FULL[1]}: CUT DOWN, with the real widths"
        print(
            f"{options.images} pictures of {options.size}x{options.size}, {options.prompts} "
            f"prompts, {options.threads} thread(s), float32, ViT-H-14 with {layers[0]} and "
            f"{layers[1]} layers{'' if layers == FULL else cut}"
        )
        times, values = {}, {}
        for title, (run, together) in runs.items():
            times[title], values[title] = run(package, checkpoint, files, prompts, together)
        package.model_dict.clear()
        times["harness"], values["harness"] = ours(checkpoint, files, prompts)
    report(times, values)


def make_network(folder: Path, depth: int) -> tuple[Path, tuple[int, int]]:
    """A random checkpoint as the official ones, and the layers of its towers."""
    source = Path(open_clip.__file__).parent / "model_configs" / "ViT-H-14.json"
    config = json.loads(source.read_text())
    layers = (depth, depth) if depth else FULL
    config["vision_cfg"]["layers"], config["text_cfg"]["layers"] = layers
    (folder / "configs").mkdir()
    (folder / "configs" / "ViT-H-14.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / "configs")
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-H-14")
    torch.save({"state_dict": model.state_dict()}, folder / "HPS_v2_compressed.pt")
    return folder / "HPS_v2_compressed.pt", layers


def make_images(folder: Path, n: int, prompts: int, side: int) -> tuple[list[str], list[str]]:
    """PNG files of smooth random pictures, and the prompt of each."""
    generator = np.random.default_rng(0)
    files = []
    for at in range(n):
        small = Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        files.append(f"{folder}/{at}.png")
        small.resize((side, side), Image.Resampling.BICUBIC).save(files[-1])
    words = "a photograph of two red cubes beside a lighthouse at dusk, number"
    return files, [f"{words} {at * prompts // n}" for at in range(n)]


def find_package(folder: Path) -> Any:
    with suppress(ValueError):  # started as a file, which has the package's name
        sys.path.remove(str(Path(__file__).resolve().parent))
    if find_spec("hpsv2") is None:
        target = str(folder / "package")
        wanted = ["hpsv2==1.2.0", "clint==0.5.1", "args==0.1.0"]
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        done = subprocess.run([*command, "--target", target, *wanted], check=False)
        if done.returncode:
            sys.exit("hpsv2 1.2.0 is not installed and cannot be fetched")
        sys.path.insert(0, target)
    package = import_package()
    from hpsv2.src.open_clip import factory

    factory.add_model_config(folder / "configs")
    return package


class Timers:
    """CPU seconds spent in functions, by name: other programs do not count."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[name] += time.process_time() - start

        return timed


def theirs(
    package: Any, checkpoint: Path, files: list[str], prompts: list[str], together: int
) -> tuple[Timers, list[float]]:
    """The package's own `score`, of `together` pictures of a prompt a call."""
    timers = Timers()
    build = timers.around("build and load", package.create_model_and_transforms)
    model, _, preprocess = build(
        "ViT-H-14", device="cpu", precision="amp", light_augmentation=True, output_dict=True
    )
    model.encode_image = timers.around("image network", model.encode_image)
    model.encode_text = timers.around("text network", model.encode_text)
    model.load_state_dict = timers.around("build and load", model.load_state_dict)
    read = timers.around("read and resize", preprocess)
    package.device = "cpu"
    package.model_dict.update(model=model, preprocess_val=read)
    load, torch.load = torch.load, timers.around("build and load", torch.load)
    timers.seconds["all"] = timers.seconds["build and load"]
    run = timers.around("all", partial(package.score, cp=str(checkpoint)))
    scores: list[float] = []
    try:
        for at in range(0, len(files), together):
            scores += run(files[at : at + together], prompts[at])
    finally:
        torch.load = load
    return timers, scores


def ours(checkpoint: Path, files: list[str], prompts: list[str]) -> tuple[Timers, list[float]]:
    """The metric as `harness evaluate` uses it: weights and prompts once, pictures in batches."""
    timers = Timers()
    metric = Hpsv2(str(checkpoint))

    def read(names: list[str]) -> torch.Tensor:
        pictures = [np.array(Image.open(name).convert("RGB")) for name in names]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)

    def all_of_it() -> list[float]:
        timers.around("build and load", metric.load)("cpu")
        network = metric.towers.network
        network.encode_image = timers.around("image network", network.encode_image)
        scores: list[Any] = []
        with torch.inference_mode():
            timers.around("text network", metric.prepare)(list(dict.fromkeys(prompts)))
            for at in range(0, len(files), 64):
                images = timers.around("read and resize", read)(files[at : at + 64])
                rows = [ItemRow(prompt) for prompt in prompts[at : at + 64]]
                start = time.process_time()
                inside = timers.seconds["image network"]
                scores += metric.score(images, rows)
                inside = timers.seconds["image network"] - inside
                timers.seconds["read and resize"] += time.process_time() - start - inside
        return scores

    return timers, timers.around("all", all_of_it)()


def report(times: dict[str, Timers], values: dict[str, list[float]]) -> None:
    seconds = {title: timers.seconds for title, timers in times.items()}
    n = len(values["harness"])
    print(
        f"\n{'CPU seconds':30}" + "".join(f"{part:>17}" for part in [*PARTS, "rest", "all"]), end=""
    )
    print(f"{'images/s':>10}{'ratio':>8}")
    for title, spent in seconds.items():
        rest = spent["all"] - sum(spent[part] for part in PARTS)
        cells = [*(spent[part] for part in PARTS), rest, spent["all"]]
        ratio = spent["all"] / seconds["harness"]["all"]
        print(f"{title:30}" + "".join(f"{cell:17.2f}" for cell in cells), end="")
        print(f"{n / spent['all']:10.2f}{ratio:8.2f}")
    worst = max(np.abs(np.subtract(found, values["harness"])).max() for found in values.values())
    print(f"\nlargest difference of a score: {worst:.1e}")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
