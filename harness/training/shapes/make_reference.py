"""Builds `refs/shapes-judge.npz`: moments of judge features of fresh drawings.

The drawings show held-out captions, each category in equal share, as the benchmark's prompts are: a
Frechet distance then compares pictures of like captions. Scenes are fresh; no picture is a model's.
"""

from __future__ import annotations

import numpy as np
import torch

from harness.training.shapes.common import arguments, write_reference
from harness.world.draw import draw
from harness.world.grammar import CATEGORIES, held_out_captions
from harness.world.judge import load_judge
from harness.world.scenes import scene

SEED = 71
BATCH = 250


def main() -> None:
    args = arguments(__doc__ or "", pictures=25_000)
    judge = load_judge()
    texts = [held_out_captions(category) for category in CATEGORIES]
    features = []
    for step in range(args.pictures // BATCH):
        rng = np.random.default_rng((SEED, step))
        drawn = []
        for i in range(BATCH):
            among = texts[i % len(texts)]
            drawn.append(draw(scene(among[rng.integers(len(among))], rng)))
        features.append(judge.look(torch.from_numpy(np.stack(drawn))).features.double().numpy())
    write_reference(
        "shapes-judge",
        features,
        "fresh drawings of held-out captions of the shapes world, five categories in equal shares, "
        f"seed {SEED}",
    )


if __name__ == "__main__":
    main()
