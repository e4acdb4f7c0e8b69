"""Trains everything from nothing with fixed seeds and step counts; run again, it goes on.

`python -m harness.training.shapes --out FOLDER [--workers 2]`
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.training.shapes.common import run_stages

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

    def more(stage: str) -> list[str]:
        return ["--workers", str(args.workers)] if stage == "unet" else []

    run_stages("harness.training.shapes", STAGES, args.out, more)


if __name__ == "__main__":
    main()
