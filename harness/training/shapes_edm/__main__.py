"""Trains both networks from nothing with fixed seeds and step counts; run again, it goes on.

`python -m harness.training.shapes_edm --out FOLDER`
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.training.shapes.common import run_stages

STAGES = (
    ("train_networks", "--steps 16000"),
    ("export_networks", ""),
    ("make_class_reference", "--pictures 4800"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("train-shapes-edm"))
    args = parser.parse_args()
    run_stages("harness.training.shapes_edm", STAGES, args.out, lambda stage: [])


if __name__ == "__main__":
    main()
