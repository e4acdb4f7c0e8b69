"""Builds `refs/shapes-judge.npz`: moments of judge features of fresh drawings.

The drawings show held-out captions, each category in equal share, as the benchmark's prompts are: a
Frechet distance then compares pictures of like captions. Scenes are fresh; no picture is a model's.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from harness.models.shapes.train.common import PACKAGE, WEIGHTS, arguments
from harness.world.draw import draw
from harness.world.grammar import CATEGORIES, held_out_captions, scene
from harness.world.judge import load_judge

SEED = 71
BATCH = 250


def main() -> None:
    args = arguments(__doc__ or "", pictures=25_000)
    judge, judge_weights = load_judge(), WEIGHTS / "judge.safetensors"
    texts = [held_out_captions(category) for category in CATEGORIES]
    features = []
    for step in range(args.pictures // BATCH):
        rng = np.random.default_rng((SEED, step))
        drawn = []
        for i in range(BATCH):
            among = texts[i % len(texts)]
            drawn.append(draw(scene(among[rng.integers(len(among))], rng)))
        features.append(judge.look(torch.from_numpy(np.stack(drawn))).features.double().numpy())
    x = np.concatenate(features)
    path = PACKAGE.parent / "refs" / "shapes-judge.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez(
        path,
        mu=x.mean(0),
        sigma=np.cov(x, rowvar=False),
        n=np.int64(len(x)),
        encoder=np.str_("shapes-judge"),
        judge=np.str_(hashlib.sha256(judge_weights.read_bytes()).hexdigest()),
        source=np.str_(
            "fresh drawings of held-out captions of the shapes world, five categories in equal "
            f"shares, seed {SEED}"
        ),
    )
    print(f"{path.name}: n {len(x)}, {x.shape[1]} features, trace {np.trace(np.cov(x.T)):.4f}")


if __name__ == "__main__":
    main()
