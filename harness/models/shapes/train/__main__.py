"""Trains everything from nothing with fixed seeds and step counts; run again, it goes on.

`python -m harness.models.shapes.train --out FOLDER [--workers 2]`
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

STAGES = (
    ("vae", "--steps 9000 --batch 8"),
    ("decoder", "--steps 12000 --batch 8"),
    ("text", "--steps 1500 --batch 96"),
    ("judge", "--steps 3000 --batch 32"),
    ("dual", "--steps 2000 --batch 64"),
    ("latents", "--pictures 100000"),
    ("unet", "--steps 12000 --batch 48"),
    ("export", ""),
    ("reference", "--pictures 25000"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("train-shapes"))
    parser.add_argument("--workers", type=int, default=1, help="processes that train the U-Net")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for stage, options in STAGES:
        done = args.out / f"{stage}.done"
        if done.exists():
            continue
        print(f"== {stage}", flush=True)
        command = [sys.executable, "-m", f"harness.models.shapes.train.{stage}"]
        command += ["--out", str(args.out), *options.split()]
        if stage == "unet":
            command += ["--workers", str(args.workers)]
        subprocess.run(command, check=True)
        done.touch()


if __name__ == "__main__":
    main()
