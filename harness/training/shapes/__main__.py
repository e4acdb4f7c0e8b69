"""Trains everything from nothing with fixed seeds and step counts; run again, it goes on.

`python -m harness.training.shapes --out FOLDER [--workers 2]`
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.training.shapes.common import run_stages

STAGES = (
    ("train_vae", "--steps 9000 --batch 8"),
    ("train_decoder", "--steps 12000 --batch 8"),
    ("train_text", "--steps 1500 --batch 96"),
    ("train_judge", "--steps 3000 --batch 32"),
    ("train_dual", "--steps 2000 --batch 64"),
    ("cache_latents", "--pictures 100000"),
    ("train_unet", "--steps 12000 --batch 48"),
    ("export_pipeline", ""),
    ("make_reference", "--pictures 25000"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("train-shapes"))
    parser.add_argument("--workers", type=int, default=1, help="processes that train the U-Net")
    args = parser.parse_args()

    def more(stage: str) -> list[str]:
        return ["--workers", str(args.workers)] if stage == "train_unet" else []

    run_stages("harness.training.shapes", STAGES, args.out, more)


if __name__ == "__main__":
    main()
