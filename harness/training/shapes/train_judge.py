"""Trains the judge on fresh drawings of every combination, disturbed so that it forgives samplers.

Blur, noise, contrast and brightness are changed a little. The centre cell of each object is exactly
one in the target, so that every object has a peak of its own.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from harness.training.shapes.common import (
    WEIGHTS,
    Average,
    Log,
    arguments,
    cosine,
    generator,
    pictures,
    restore,
    save,
    set_rate,
)
from harness.world.grammar import COLOURS, SHAPES, parse
from harness.world.judge import BEHIND, CELLS, STRIDE, Judge, grades
from harness.world.scenes import Scene, any_scene

SEED = 31


def targets(scenes: list[Scene]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Centre heat [B, 16, 16], background [B]; of each object index and box [N, 3], labels [N]."""
    heat = torch.zeros(len(scenes), CELLS, CELLS)
    at, box, colour, shape = [], [], [], []
    cells = torch.arange(CELLS) + 0.5
    for b, scene in enumerate(scenes):
        for obj in scene.objects:
            column, row = int(obj.x / STRIDE), int(obj.y / STRIDE)
            dx, dy = cells - (column + 0.5), cells - (row + 0.5)
            bump = torch.exp(-(dx[None] ** 2 + dy[:, None] ** 2) / (2 * 0.7**2))
            heat[b] = torch.maximum(heat[b], bump)
            at.append((b, row, column))
            box.append((obj.x / STRIDE - column, obj.y / STRIDE - row, obj.radius / STRIDE))
            colour.append(tuple(COLOURS).index(obj.colour))
            shape.append(SHAPES.index(obj.shape))
    behind = torch.tensor([BEHIND.index(scene.background) for scene in scenes])
    return heat, behind, *(torch.tensor(v) for v in (at, box, colour, shape))  # type: ignore[return-value]


def disturb(pixels: Tensor, rng: torch.Generator) -> Tensor:
    """Pictures [B, 3, H, W] in [-1, 1] with random blur, contrast, brightness and noise."""
    n = len(pixels)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, 1, 1, 1, generator=rng)

    kernel = torch.tensor([1.0, 2.0, 1.0])
    kernel = (kernel[:, None] * kernel / 16).expand(3, 1, 3, 3)
    soft = F.conv2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
    share = uniform(-0.6, 1.0).clamp_min(0)
    out = pixels + share * (soft - pixels)
    out = out * uniform(0.9, 1.1) + uniform(-0.06, 0.06)
    noise = torch.randn(pixels.shape, generator=rng)
    return (out + uniform(-0.06, 0.1).clamp_min(0) * noise).clamp(-1, 1)


def loss_of(judge: Judge, pixels: Tensor, scenes: list[Scene]) -> Tensor:
    heat, behind, at, box, colour, shape = targets(scenes)
    maps, backgrounds, _ = (v.float() for v in judge(pixels))
    centre = maps[:, 0]
    certain = torch.sigmoid(centre)
    # Focal loss of centre-point detectors: ones exactly at the centres, less weight near them.
    hit = (1 - certain).square() * F.logsigmoid(centre) * (heat == 1)
    miss = certain.square() * (1 - heat) ** 4 * F.logsigmoid(-centre) * (heat < 1)
    cell = maps[at[:, 0], :, at[:, 1], at[:, 2]]
    return (
        -(hit + miss).sum() / len(at)
        + F.l1_loss(cell[:, 1:4], box)
        + F.cross_entropy(cell[:, 4 : 4 + len(COLOURS)], colour)
        + F.cross_entropy(cell[:, 4 + len(COLOURS) :], shape)
        + 0.5 * F.cross_entropy(backgrounds, behind)
    )


def measure(judge: Judge, count: int, seed: int) -> float:
    """Share of fresh drawings that the judge finds to meet every demand of their caption."""
    right = 0
    for step in range(math.ceil(count / 250)):
        pixels, _, captions = pictures(any_scene, seed, step, 250)
        drawn = pixels.add(1).mul(127.5).round().to(torch.uint8)
        verdicts = grades(judge.look(drawn), [parse(c) for c in captions])
        right += sum(exact for _, exact in verdicts)
    return right / (250 * math.ceil(count / 250))


def main() -> None:
    args = arguments(__doc__ or "", steps=3000, batch=32)
    torch.manual_seed(SEED)
    judge = Judge().to(memory_format=torch.channels_last)
    average = Average(judge, 0.998)
    optimiser = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=1e-3)
    path = args.out / "judge.pt"
    start = restore(path, judge=judge, average=average, optimiser=optimiser)
    log = Log(100)
    for step in range(start, args.steps):
        set_rate(optimiser, cosine(step, args.steps, 2e-3))
        pixels, scenes, _ = pictures(any_scene, SEED, step, args.batch)
        pixels = disturb(pixels, generator(SEED, step)).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(judge, pixels, scenes)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        optimiser.step()
        average.update(judge, step)
        log.add(step, loss=loss.item())
        if (step + 1) % 500 == 0 or step + 1 == args.steps:
            save(
                path,
                step=step + 1,
                judge=judge.state_dict(),
                average=average.state_dict(),
                optimiser=optimiser.state_dict(),
            )
    judge.load_state_dict(average.state_dict())
    judge.eval()
    print(f"exact on 4,000 fresh drawings: {measure(judge, 4000, SEED + 1):.4f}")
    WEIGHTS.mkdir(exist_ok=True)
    weights = {k: v.contiguous() for k, v in judge.state_dict().items()}
    save_file(weights, args.out / "judge.safetensors")


if __name__ == "__main__":
    main()
