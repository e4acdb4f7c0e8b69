"""Builds `refs/shapes-classes-judge.npz`: moments of judge features of fresh class pictures.

Each class in equal share, at 32x32 as the networks make them. No picture is a model's.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from harness.models.shapes.train.common import PACKAGE, WEIGHTS, arguments
from harness.world.classes import CLASSES, draw_class
from harness.world.judge import load_judge

SEED = 91
BATCH = 5 * CLASSES


def main() -> None:
    args = arguments(__doc__ or "", pictures=4_800)
    judge, judge_weights = load_judge(), WEIGHTS / "judge.safetensors"
    features = []
    for step in range(args.pictures // BATCH):
        rng = np.random.default_rng((SEED, step))
        drawn = np.stack([draw_class(i % CLASSES, rng) for i in range(BATCH)])
        features.append(judge.look(torch.from_numpy(drawn)).features.double().numpy())
    x = np.concatenate(features)
    path = PACKAGE.parent / "refs" / "shapes-classes-judge.npz"
    np.savez(
        path,
        mu=x.mean(0),
        sigma=np.cov(x, rowvar=False),
        n=np.int64(len(x)),
        encoder=np.str_("shapes-judge"),
        judge=np.str_(hashlib.sha256(judge_weights.read_bytes()).hexdigest()),
        source=np.str_(
            f"fresh 32x32 drawings of the shapes world's {CLASSES} classes in equal shares, "
            f"seed {SEED}"
        ),
    )
    print(f"{path.name}: n {len(x)}, {x.shape[1]} features, trace {np.trace(np.cov(x.T)):.4f}")


if __name__ == "__main__":
    main()
