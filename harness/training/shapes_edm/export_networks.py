"""Writes both networks from a working folder: averaged weights in half precision, and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from harness.training.shapes.common import arguments
from harness.training.shapes_edm.train_networks import CONFIGURATION, unconditional
from harness.world.single_objects import CLASSES

TARGET = Path(__file__).resolve().parents[2] / "models" / "shapes_edm"
LIMIT = 6_000_000
"""Bytes of both files together."""


def export(average: dict[str, Tensor], steps: int, target: Path) -> int:
    """Both networks as `NAME.safetensors` and `NAME.json`; the size of the former in bytes."""
    size = 0
    for name, classes, weights in (
        ("cond", CLASSES, average),
        ("uncond", 0, unconditional(average)),
    ):
        path = target / f"{name}.safetensors"
        halves = {key: value.half().contiguous() for key, value in weights.items()}
        save_file(halves, path, metadata={"format": "pt"})
        about = {
            "class_name": "EDMPrecond",
            "init_kwargs": {**CONFIGURATION, "label_dim": classes},
            "trained_steps": steps,
        }
        path.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n")
        for file in (path, path.with_suffix(".json")):
            file.chmod(0o644)
        size += path.stat().st_size
    return size


def main() -> None:
    args = arguments(__doc__ or "")
    saved = torch.load(args.out / "network.pt", map_location="cpu", weights_only=True)
    size = export(saved["average"], saved["step"], TARGET)
    print(f"weights {size / 1e6:.2f} MB of {LIMIT / 1e6:.0f}")
    if size > LIMIT:
        raise SystemExit("too large to ship")


if __name__ == "__main__":
    main()
