"""Builds `refs/shapes-classes-judge.npz`: moments of judge features of fresh class pictures.

Each class in equal share, at 32x32 as the networks make them. No picture is a model's.
"""

from __future__ import annotations

import numpy as np
import torch

from harness.training.shapes.common import arguments, write_reference
from harness.world.judge import load_judge
from harness.world.single_objects import CLASSES, draw_class

SEED = 91
BATCH = 5 * CLASSES


def main() -> None:
    args = arguments(__doc__ or "", pictures=4_800)
    judge = load_judge()
    features = []
    for step in range(args.pictures // BATCH):
        rng = np.random.default_rng((SEED, step))
        drawn = np.stack([draw_class(i % CLASSES, rng) for i in range(BATCH)])
        features.append(judge.look(torch.from_numpy(drawn)).features.double().numpy())
    write_reference(
        "shapes-classes-judge",
        features,
        f"fresh 32x32 drawings of the shapes world's {CLASSES} classes in equal shares, "
        f"seed {SEED}",
    )


if __name__ == "__main__":
    main()
