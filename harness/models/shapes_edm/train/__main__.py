"""Trains both networks from nothing with fixed seeds and step counts; run again, it goes on.

`python -m harness.models.shapes_edm.train --out FOLDER`
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

STAGES = (
    ("network", "--steps 2500"),
    ("export", ""),
    ("reference", "--pictures 4800"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("train-shapes-edm"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for stage, options in STAGES:
        done = args.out / f"{stage}.done"
        if done.exists():
            continue
        print(f"== {stage}", flush=True)
        command = [sys.executable, "-m", f"harness.models.shapes_edm.train.{stage}"]
        subprocess.run([*command, "--out", str(args.out), *options.split()], check=True)
        done.touch()


if __name__ == "__main__":
    main()
