"""Shared by all training scripts: seeded data, learning rates, and resumable checkpoints."""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.world.draw import draw
from harness.world.scenes import Scene

PACKAGE = Path(__file__).resolve().parents[2]
WEIGHTS = PACKAGE / "world" / "weights"
PIPELINE = PACKAGE / "models" / "shapes" / "pipeline"

SceneMaker = Callable[[np.random.Generator], tuple[Scene, str]]


def arguments(description: str, **defaults: int) -> argparse.Namespace:
    """Parse the options of every script (`--out`, `--threads`), and its own integer ones."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path("train-shapes"), help="working folder")
    parser.add_argument("--threads", type=int, default=1)
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    return args


def run_stages(
    package: str, stages: Sequence[tuple[str, str]], out: Path, more: Callable[[str], list[str]]
) -> None:
    """Run the scripts of `package` in order with their options; skips those that are done.

    `more` returns further options of a stage.
    """
    out.mkdir(parents=True, exist_ok=True)
    for stage, options in stages:
        done = out / f"{stage}.done"
        if done.exists():
            continue
        print(f"== {stage}", flush=True)
        command = [sys.executable, "-m", f"{package}.{stage}", "--out", str(out)]
        subprocess.run([*command, *options.split(), *more(stage)], check=True)
        done.touch()


def write_reference(name: str, features: Sequence[np.ndarray], source: str) -> None:
    """Write moments of judge features (parts of [n, F]) to `refs/NAME.npz` with their `source`."""
    x = np.concatenate(features)
    judge = (WEIGHTS / "judge.safetensors").read_bytes()
    path = PACKAGE.parent / "refs" / f"{name}.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez(
        path,
        mu=x.mean(0),
        sigma=np.cov(x, rowvar=False),
        n=np.int64(len(x)),
        encoder=np.str_("shapes-judge"),
        judge=np.str_(hashlib.sha256(judge).hexdigest()),
        source=np.str_(source),
    )
    print(f"{path.name}: n {len(x)}, {x.shape[1]} features, trace {np.trace(np.cov(x.T)):.4f}")


def pictures(
    make: SceneMaker, seed: int, step: int, batch: int
) -> tuple[Tensor, list[Scene], list[str]]:
    """Fresh drawings of one step: [B, 3, 64, 64] in [-1, 1], their scenes and captions.

    They depend on (seed, step) alone, so that resuming changes nothing.
    """
    rng = np.random.default_rng((seed, step))
    scenes, captions = zip(*(make(rng) for _ in range(batch)), strict=True)
    drawn = np.stack([draw(scene) for scene in scenes])
    return torch.from_numpy(drawn).float().div(127.5).sub(1), list(scenes), list(captions)


def generator(seed: int, step: int) -> torch.Generator:
    """The random stream of one step."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


def cosine(step: int, steps: int, peak: float, warm: int = 100, floor: float = 0.01) -> float:
    """Learning rate: linear warm-up, then a cosine down to `floor` of the peak."""
    if step < warm:
        return peak * (step + 1) / warm
    share = (step - warm) / max(steps - warm, 1)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))))


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def save(path: Path, **parts: Any) -> None:
    """Writes a checkpoint; the file is replaced only when the new one is complete."""
    temporary = path.with_suffix(".tmp")
    torch.save(parts, temporary)
    os.replace(temporary, path)


def restore(path: Path, **parts: Any) -> int:
    """Loads modules and optimisers of a checkpoint in place; its step, 0 where there is none."""
    if not path.exists():
        return 0
    saved = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    return int(saved["step"])


class Average:
    """An exponential moving average of a module's weights."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, value in module.state_dict().items():
            if value.dtype.is_floating_point:
                self.weights[name].lerp_(value, 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        return self.weights

    def load_state_dict(self, weights: dict[str, Tensor]) -> None:
        self.weights = {k: v.clone() for k, v in weights.items()}


class Log:
    """Prints running means of named values every `every` steps, with steps a second."""

    def __init__(self, every: int) -> None:
        self.every, self.sums, self.count = every, {}, 0  # type: tuple[int, dict[str, float], int]
        self.since = time.monotonic()

    def add(self, step: int, **values: float) -> None:
        self.count += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        if (step + 1) % self.every == 0:
            means = " ".join(f"{k} {v / self.count:.4f}" for k, v in self.sums.items())
            pace = self.count / (time.monotonic() - self.since)
            print(f"step {step + 1} {means} ({pace:.2f} steps/s)", flush=True)
            self.sums, self.count, self.since = {}, 0, time.monotonic()
